//! Subresources: the parts of an object that have a path of their own, as rows of the table.
//!
//! A row says what the part is called, what is sent to it, what can be done with it and what it does. Routes, discovery,
//! OpenAPI documents, metrics and the verbs follow from the row: nothing else knows a subresource by its name.

use std::sync::Arc;

use super::request::{Target, Verb};

/// A subresource of a kind. As in [`Column`](super::Column), the text is static in a constant and shared in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subresource<S = &'static str> {
    /// The last step of its path, such as `status`.
    pub name: S,
    /// The kind of what is sent and answered; `None` for the kind of the object itself.
    pub body: Option<BodyKind<S>>,
    /// What can be done with it.
    pub verbs: &'static [Verb],
    /// What it does.
    pub action: Action<S>,
}

/// The kind of what a subresource is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyKind<S = &'static str> {
    /// The API group; empty for the core group.
    pub group: S,
    /// The version.
    pub version: S,
    /// The kind.
    pub kind: S,
}

/// What a subresource does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<S = &'static str> {
    /// It is the object, written by the rules of its status: all else stays as it is.
    Status,
    /// It is the object, of which only that is written which [`KindRules::prepare_part`](super::KindRules::prepare_part)
    /// takes over from what is sent.
    Part,
    /// It shows how many replicas there are and sets how many there should be.
    Scale(ScalePaths<S>),
    /// It changes the object as [`KindRules::edit`](super::KindRules::edit) says.
    Edit {
        /// Whether what it changes is desired state, which `metadata.generation` counts.
        generation: bool,
    },
    /// It is answered by the server from what it knows, and is no part of the object.
    Answer(Answer),
    /// It is a stream between the caller and where the object runs, which the host that speaks HTTP connects.
    Connect(Stream),
}

/// What a kind whose objects are not kept is another way to: what is created of it is sent to the subresource of the
/// object that it is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relay<S = &'static str> {
    /// The API group of that object; empty for the core group.
    pub group: S,
    /// The version in which it is asked for.
    pub version: S,
    /// Its plural.
    pub resource: S,
    /// The subresource.
    pub subresource: S,
}

impl Relay {
    /// To a subresource of the objects of a group, version and plural.
    pub const fn to(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        part: &'static str,
    ) -> Self {
        Self { group, version, resource, subresource: part }
    }
}

impl From<Relay> for Relay<Arc<str>> {
    fn from(Relay { group, version, resource, subresource }: Relay) -> Self {
        let (group, version) = (group.into(), version.into());
        Self { group, version, resource: resource.into(), subresource: subresource.into() }
    }
}

/// Where a kind keeps what the `scale` subresource shows. Paths are dotted, from the object's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalePaths<S = &'static str> {
    /// How many replicas are wanted.
    pub spec_replicas: S,
    /// How many there are.
    pub status_replicas: S,
    /// The selector of the replicas: a label selector object, a plain map, or the text of one; empty for none.
    pub selector: S,
    /// Whether an object that does not say how many replicas it wants has no scale, as one of a custom kind. Of other
    /// kinds it wants none.
    pub strict: bool,
}

impl From<ScalePaths> for ScalePaths<Arc<str>> {
    fn from(ScalePaths { spec_replicas, status_replicas, selector, strict }: ScalePaths) -> Self {
        Self {
            spec_replicas: spec_replicas.into(),
            status_replicas: status_replicas.into(),
            selector: selector.into(),
            strict,
        }
    }
}

/// What the server answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The deletion of the object, as a drain of its node asks for it.
    Eviction,
    /// What the object has been: see [`history`](super::history).
    History,
    /// What the [`Responder`](super::Responder) of the subresource says.
    Responder,
}

/// What is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// What a container wrote, as text.
    Log,
    /// A command in a container, with its streams.
    Exec,
    /// The streams of a container's main process.
    Attach,
    /// Connections to ports.
    PortForward,
    /// HTTP requests, passed on.
    Proxy,
}

impl Stream {
    /// Whether whoever connects needs the right to create too, however they ask: as in Kubernetes, a right to read is
    /// none to run commands.
    pub fn needs_create(self) -> bool {
        matches!(self, Self::Exec | Self::Attach | Self::PortForward)
    }
}

const SCALE: &str = "scale";
/// By which methods a connection is asked for, as verbs.
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
const READ_WRITE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];

impl Subresource {
    /// The object's status.
    pub const STATUS: Self = Self::of("status", READ_WRITE, Action::Status);
    /// What the object has been, which every kind has.
    pub const HISTORY: Self = Self::of("history", &[Verb::Get], Action::Answer(Answer::History));
    /// The deletion of a pod in a way that respects disruption budgets.
    pub const EVICTION: Self = Self::of("eviction", &[Verb::Create], Action::Answer(Answer::Eviction))
        .body("policy", "v1", "Eviction");
    /// A token for the account.
    pub const TOKEN: Self = Self::of("token", &[Verb::Create], Action::Answer(Answer::Responder)).body(
        "authentication.k8s.io",
        "v1",
        "TokenRequest",
    );
    /// What a container wrote.
    pub const LOG: Self = Self::of("log", &[Verb::Get], Action::Connect(Stream::Log));
    /// A command in a container.
    pub const EXEC: Self =
        Self::of("exec", CONNECT, Action::Connect(Stream::Exec)).body("", "v1", "PodExecOptions");
    /// A container's main process.
    pub const ATTACH: Self =
        Self::of("attach", CONNECT, Action::Connect(Stream::Attach)).body("", "v1", "PodAttachOptions");
    /// Connections to ports.
    pub const PORT_FORWARD: Self = Self::of("portforward", CONNECT, Action::Connect(Stream::PortForward))
        .body("", "v1", "PodPortForwardOptions");

    /// HTTP requests, passed on; `options` is the kind of what is asked for.
    pub const fn proxy(options: &'static str) -> Self {
        const ANY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
        Self::of("proxy", ANY, Action::Connect(Stream::Proxy)).body("", "v1", options)
    }

    const fn of(name: &'static str, verbs: &'static [Verb], action: Action) -> Self {
        Self { name, body: None, verbs, action }
    }

    /// The scale of a kind that keeps it at these paths.
    pub const fn scale(paths: ScalePaths) -> Self {
        Self::of(SCALE, READ_WRITE, Action::Scale(paths)).body("autoscaling", "v1", "Scale")
    }

    /// One by which the object is changed as the rules of its kind say.
    pub const fn edit(name: &'static str, verbs: &'static [Verb]) -> Self {
        Self::of(name, verbs, Action::Edit { generation: true })
    }

    /// One through which a part of the object is read and written, as the rules of its kind say.
    pub const fn part(name: &'static str) -> Self {
        Self::of(name, READ_WRITE, Action::Part)
    }

    /// The same, with another kind as what is sent.
    #[must_use]
    pub const fn body(self, group: &'static str, version: &'static str, kind: &'static str) -> Self {
        Self { body: Some(BodyKind { group, version, kind }), ..self }
    }

    /// The same, whose changes `metadata.generation` does not count.
    #[must_use]
    pub const fn uncounted(self) -> Self {
        Self { action: Action::Edit { generation: false }, ..self }
    }
}

impl Subresource<Arc<str>> {
    /// The scale of a custom kind that keeps it at these paths.
    pub fn custom_scale(paths: ScalePaths<Arc<str>>) -> Self {
        const PLACE: ScalePaths =
            ScalePaths { spec_replicas: "", status_replicas: "", selector: "", strict: true };
        Self { action: Action::Scale(paths), ..Self::from(&Subresource::scale(PLACE)) }
    }
}

impl<S> Subresource<S> {
    /// Whether it is the object's status.
    pub fn is_status(&self) -> bool {
        matches!(self.action, Action::Status)
    }

    /// Whether it is the object, of which only a part is written.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.action, Action::Status | Action::Part)
    }

    /// Whether what is written through it is desired state.
    pub(crate) fn is_desired(&self) -> bool {
        !matches!(self.action, Action::Status | Action::Edit { generation: false })
    }

    /// Whether discovery lists it. History is orchestra's own: clients of Kubernetes, which compare what is listed with
    /// what they know, do not find it there.
    pub fn is_listed(&self) -> bool {
        !matches!(self.action, Action::Answer(Answer::History))
    }
}

impl From<&Subresource> for Subresource<Arc<str>> {
    fn from(row: &Subresource) -> Self {
        let body = row.body.map(|BodyKind { group, version, kind }| BodyKind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        });
        let action = match row.action {
            Action::Status => Action::Status,
            Action::Part => Action::Part,
            Action::Scale(paths) => Action::Scale(paths.into()),
            Action::Edit { generation } => Action::Edit { generation },
            Action::Answer(answer) => Action::Answer(answer),
            Action::Connect(stream) => Action::Connect(stream),
        };
        Self { name: row.name.into(), body, verbs: row.verbs, action }
    }
}

impl Target {
    /// The status of the object.
    #[must_use]
    pub fn status(self) -> Self {
        self.sub(Subresource::STATUS.name)
    }

    /// The scale of the object.
    #[must_use]
    pub fn scale(self) -> Self {
        self.sub(SCALE)
    }
}
