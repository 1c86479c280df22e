//! What the labels of a namespace say.

use std::fmt;

/// The label of the level and that of the version, for each mode.
const ENFORCE: [&str; 2] =
    ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"];
const AUDIT: [&str; 2] = ["pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/audit-version"];
const WARN: [&str; 2] = ["pod-security.kubernetes.io/warn", "pod-security.kubernetes.io/warn-version"];

/// The minor version of Kubernetes whose standards are the latest here.
const LATEST: u32 = 36;

/// How much pods may ask for, from everything to little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// Nothing by which a pod is known to gain rights over its node.
    Baseline,
    /// What a pod that is hardened as is good practice asks for.
    Restricted,
}

/// Since which minor version of Kubernetes a standard is as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// That of this server.
    #[default]
    Latest,
    /// `v1.` and this number.
    Minor(u32),
}

/// A level as it was in a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

/// The standards of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// What violates it is refused.
    pub(super) enforce: Standard,
    /// What violates it is noted in the audit log.
    pub(super) audit: Standard,
    /// What violates it is warned of.
    pub(super) warn: Standard,
}

/// A label that says nothing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongLabel {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) detail: &'static str,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let plain = digits == "0" || !digits.starts_with('0');
        if !plain || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().map(Self::Minor)
    }

    /// The minor version whose rules hold: those of a version to come are the latest.
    pub(super) fn minor(self) -> u32 {
        match self {
            Self::Latest => LATEST,
            Self::Minor(minor) => minor.min(LATEST),
        }
    }
}

impl Standard {
    /// Whether pods that this other one let pass may not pass this one.
    pub(super) fn is_stricter_than(&self, held: &Self) -> bool {
        let relaxed = self.version == held.version && self.level <= held.level;
        self.level != Level::Privileged && self != held && !relaxed
    }
}

/// What the labels of a mode say.
struct Said {
    /// `None` without a label, `Some(None)` if it is none that is known.
    level: Option<Option<Level>>,
    /// One that cannot be read is the latest.
    version: Option<Version>,
}

impl Said {
    fn read(
        [level, version]: [&'static str; 2],
        label: &impl Fn(&str) -> Option<String>,
        wrong: &mut Vec<WrongLabel>,
    ) -> Self {
        let mut misread = |key, value: &str, detail| {
            wrong.push(WrongLabel { key, value: value.to_owned(), detail });
        };
        let level = label(level).map(|text| {
            let known = Level::parse(&text);
            if known.is_none() {
                misread(level, &text, "must be one of privileged, baseline, restricted");
            }
            known
        });
        let version = label(version).map(|text| {
            Version::parse(&text).unwrap_or_else(|| {
                misread(version, &text, "must be \"latest\" or \"v1.x\"");
                Version::Latest
            })
        });
        Self { level, version }
    }

    fn standard(&self, unknown: Level) -> Standard {
        let level = self.level.map_or(Level::Privileged, |level| level.unwrap_or(unknown));
        Standard { level, version: self.version.unwrap_or_default() }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

impl Policy {
    /// What labels say, and which of them say nothing that is known. An unknown level enforces the strictest one, and for the
    /// other modes asks for nothing. A namespace that enforces a level and does not say of which to warn warns of violations
    /// of that one, by templates.
    pub(super) fn read(label: impl Fn(&str) -> Option<String>) -> (Self, Vec<WrongLabel>) {
        let mut wrong = Vec::new();
        let [enforced, audited, warned] =
            [ENFORCE, AUDIT, WARN].map(|keys| Said::read(keys, &label, &mut wrong));
        let enforce = enforced.standard(Level::Restricted);
        let audit = audited.standard(Level::Privileged);
        let mut warn = warned.standard(Level::Privileged);
        if let (None, Some(Some(level))) = (warned.level, enforced.level) {
            warn.level = level;
            warn.version = warned.version.unwrap_or(enforce.version);
        }
        (Self { enforce, audit, warn }, wrong)
    }
}
