//! Which fields of a pod a runtime carries out.

/// Which fields of a pod a runtime carries out.
///
/// A field that is set and not declared here is not dropped: the agent refuses the pod and names the field. So a runtime
/// declares a field only when it really does what the field says, or when what the field asks for holds anyway. The
/// [default](SupportedFields::NONE) declares nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SupportedFields {
    /// `runAsUser`, by number.
    pub run_as_user: bool,
    /// `runAsGroup`, by number.
    pub run_as_group: bool,
    /// `supplementalGroups` and `fsGroup` as groups of the processes.
    pub supplemental_groups: bool,
    /// `supplementalGroupsPolicy: Strict`: no groups from the image.
    pub strict_groups: bool,
    /// `privileged: true`.
    pub privileged: bool,
    /// `readOnlyRootFilesystem: true`.
    pub read_only_root_filesystem: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// `capabilities.add`.
    pub add_capabilities: bool,
    /// `capabilities.drop`.
    pub drop_capabilities: bool,
    /// `seccompProfile` of type `RuntimeDefault` or `Localhost`.
    pub seccomp: bool,
    /// `appArmorProfile` of type `RuntimeDefault` or `Localhost`.
    pub apparmor: bool,
    /// `seLinuxOptions`; also where the machine has no SELinux, and there is nothing to do.
    pub selinux: bool,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
    /// `sysctls`.
    pub sysctls: bool,
    /// `hostPID: true`.
    pub host_pid: bool,
    /// `hostIPC: true`.
    pub host_ipc: bool,
    /// `hostUsers: false`.
    pub user_namespaces: bool,
    /// `shareProcessNamespace: true`.
    pub share_process_namespace: bool,
    /// The same with `hostUsers: false`.
    pub own_users_share_processes: bool,
    /// `recursiveReadOnly: Enabled` of a volume mount.
    pub recursive_read_only: bool,
    /// Volumes that are images: [`Runtime::mount_image`](super::Runtime::mount_image).
    pub image_volumes: bool,
    /// `resources` of the pod as a whole: [`SandboxSpec::resources`](super::SandboxSpec::resources).
    pub pod_resources: bool,
}

impl SupportedFields {
    /// None of them.
    pub const NONE: Self = Self {
        run_as_user: false,
        run_as_group: false,
        supplemental_groups: false,
        strict_groups: false,
        privileged: false,
        read_only_root_filesystem: false,
        no_new_privileges: false,
        add_capabilities: false,
        drop_capabilities: false,
        seccomp: false,
        apparmor: false,
        selinux: false,
        unmasked_proc: false,
        sysctls: false,
        host_pid: false,
        host_ipc: false,
        user_namespaces: false,
        share_process_namespace: false,
        own_users_share_processes: false,
        recursive_read_only: false,
        image_volumes: false,
        pod_resources: false,
    };

    /// All of them.
    pub const ALL: Self = Self {
        run_as_user: true,
        run_as_group: true,
        supplemental_groups: true,
        strict_groups: true,
        privileged: true,
        read_only_root_filesystem: true,
        no_new_privileges: true,
        add_capabilities: true,
        drop_capabilities: true,
        seccomp: true,
        apparmor: true,
        selinux: true,
        unmasked_proc: true,
        sysctls: true,
        host_pid: true,
        host_ipc: true,
        user_namespaces: true,
        share_process_namespace: true,
        own_users_share_processes: true,
        recursive_read_only: true,
        image_volumes: true,
        pod_resources: true,
    };
}
