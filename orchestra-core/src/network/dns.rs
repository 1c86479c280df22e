//! By what the Service of the cluster's names is known.

/// Its namespace.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const SERVICE: &str = "kube-dns";
/// The label by which a Service says that another than the usual proxy carries it.
pub const PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The value of that label where each node answers names itself.
pub const PROXY_NAME: &str = "orchestra-dns";
