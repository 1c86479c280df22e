use std::fmt::Write as _;

/// One step of the way to a value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a field of an object.
    Key(String),
    /// Into an element of a list.
    Index(usize),
}

/// Where in a value one is: a chain of steps on the stack, which becomes a text only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'s> {
    above: Option<&'s Spot<'s>>,
    step: Below<'s>,
}

#[derive(Clone, Copy, Debug)]
enum Below<'s> {
    Root,
    Field(&'s str),
    Key(&'s str),
    Index(usize),
}

impl<'s> Spot<'s> {
    /// The value as a whole.
    pub const ROOT: Spot<'static> = Spot { above: None, step: Below::Root };

    /// A field of the object that is here.
    pub fn field<'n>(&'n self, name: &'n str) -> Spot<'n> {
        Spot { above: Some(self), step: Below::Field(name) }
    }

    /// A value of the map that is here, as errors write it: `[key]`.
    pub fn key<'n>(&'n self, key: &'n str) -> Spot<'n> {
        Spot { above: Some(self), step: Below::Key(key) }
    }

    /// An element of the list that is here.
    pub fn index(&self, index: usize) -> Spot<'_> {
        Spot { above: Some(self), step: Below::Index(index) }
    }

    /// Whether it is the value as a whole.
    pub fn is_root(&self) -> bool {
        self.above.is_none()
    }

    /// The steps from the value as a whole down to here.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = self.above.map(Self::steps).unwrap_or_default();
        match self.step {
            Below::Root => {}
            Below::Field(name) | Below::Key(name) => steps.push(Step::Key(name.to_owned())),
            Below::Index(index) => steps.push(Step::Index(index)),
        }
        steps
    }

    /// The steps as text: `spec.list[0].name`.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        if let Some(above) = self.above {
            above.write(out);
        }
        // Writing to a String cannot fail.
        let _ = match self.step {
            Below::Root => Ok(()),
            Below::Field(name) if out.is_empty() => write!(out, "{name}"),
            Below::Field(name) => write!(out, ".{name}"),
            Below::Key(key) => write!(out, "[{key}]"),
            Below::Index(index) => write!(out, "[{index}]"),
        };
    }
}
