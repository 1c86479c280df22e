//! Files of a volume that lie in each other's way.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, ProjectedVolumeSource, Volume};

/// A file of a volume, and where it comes from if that is not always the same.
#[derive(Clone, PartialEq, Eq)]
struct File {
    path: String,
    from: String,
}

impl File {
    fn of(path: &str, from: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), from: from.to_owned() }
    }

    /// Whether one of them is the other, or would have to be its directory.
    fn overlaps(&self, other: &Self) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let either = within(&self.path, &other.path) || within(&other.path, &self.path);
        !self.path.is_empty() && !other.path.is_empty() && either
    }
}

impl std::fmt::Display for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.from.as_str() {
            "" => write!(f, "{:?}", self.path),
            from => write!(f, "{:?} ({from})", self.path),
        }
    }
}

/// Says which files overlap, and which sources give none.
pub(super) fn overlaps(spec: &PodSpec, warnings: &mut Vec<String>) {
    for volume in spec.volumes.iter().flatten() {
        let mut say = |kind: &str, files: Vec<File>| {
            for (index, file) in files.iter().enumerate() {
                for before in files[..index].iter().filter(|before| file.overlaps(before)) {
                    warnings.push(format!(
                        "volume {:?} ({kind}): overlapping paths: {file} with {before}",
                        volume.name
                    ));
                }
            }
        };
        if let Some(map) = &volume.config_map {
            say(&format!("ConfigMap {:?}", map.name), entries(map.items.as_deref(), ""));
        }
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            say(&format!("Secret {name:?}"), entries(secret.items.as_deref(), ""));
        }
        if let Some(downward) = &volume.downward_api {
            say("DownwardAPI", fields(downward.items.as_deref(), ""));
        }
        if let Some(projected) = &volume.projected {
            say("Projected", of_sources(projected));
            nothing(volume, projected, warnings);
        }
    }
}

fn entries(items: Option<&[KeyToPath]>, from: &str) -> Vec<File> {
    items.unwrap_or_default().iter().map(|item| File::of(&item.path, from)).collect()
}

fn fields(items: Option<&[DownwardAPIVolumeFile]>, from: &str) -> Vec<File> {
    items.unwrap_or_default().iter().map(|file| File::of(&file.path, from)).collect()
}

fn of_sources(projected: &ProjectedVolumeSource) -> Vec<File> {
    let files = projected.sources.iter().flatten().flat_map(|source| {
        if let Some(map) = source.config_map.as_ref().filter(|map| map.items.is_some()) {
            entries(map.items.as_deref(), &format!("ConfigMap {:?}", map.name))
        } else if let Some(secret) = source.secret.as_ref().filter(|secret| secret.items.is_some()) {
            entries(secret.items.as_deref(), &format!("Secret {:?}", secret.name))
        } else if let Some(downward) = source.downward_api.as_ref().filter(|held| held.items.is_some()) {
            fields(downward.items.as_deref(), "DownwardAPI")
        } else if let Some(token) = &source.service_account_token {
            vec![File::of(&token.path, "ServiceAccountToken")]
        } else if let Some(bundle) = &source.cluster_trust_bundle {
            let name = bundle.name.as_deref().or(bundle.signer_name.as_deref()).unwrap_or_default();
            vec![File::of(&bundle.path, &format!("ClusterTrustBundle {name:?}"))]
        } else {
            Vec::new()
        }
    });
    files.collect()
}

fn nothing(volume: &Volume, projected: &ProjectedVolumeSource, warnings: &mut Vec<String>) {
    let empty = projected.sources.iter().flatten().filter(|source| **source == Default::default());
    let said = empty.map(|_| format!("volume {:?} (Projected) has no sources provided", volume.name));
    warnings.extend(said);
}

#[cfg(test)]
mod tests {
    use super::File;

    #[test]
    fn a_file_is_in_the_way_of_what_would_be_below_it() {
        for (one, other, overlaps) in [
            ("a", "a", true),
            ("a/", "a", true),
            ("a", "a/b", true),
            ("a/b", "a", true),
            ("a", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(File::of(one, "").overlaps(&File::of(other, "x")), overlaps, "{one} {other}");
        }
    }
}
