//! What selectors of devices look at: the variable `device`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use super::Budget;
use super::special::Semver;
use super::value::{Key, Special, Val};
use super::{Declared, DeclaredField, DeclaredKind, Environment, EvalError, Program};
use crate::quantity::Quantity;

/// How many attributes a device has at most.
const MAX_ATTRIBUTES: u64 = 32;

/// What an attribute of a device is.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Attribute {
    Bool(bool),
    Int(i64),
    Text(String),
    Version(String),
}

/// A device, as selectors see it. Attributes and capacities are by their domain and their name in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// The driver.
    pub driver: String,
    /// Whether several claims may have it at once.
    pub is_shared: bool,
    /// Its attributes.
    pub attributes: BTreeMap<String, BTreeMap<String, Attribute>>,
    /// Its capacities.
    pub capacity: BTreeMap<String, BTreeMap<String, Quantity>>,
}

/// The variables of a selector of devices.
pub fn device_environment() -> Environment {
    static DEVICE: LazyLock<Arc<Declared>> = LazyLock::new(|| {
        let value = |kind, most| Arc::new(Declared { kind, most, least_bytes: 1 });
        let any = || value(DeclaredKind::Dyn, u64::MAX);
        let by_domain = || {
            let by_name = value(DeclaredKind::Map(any()), MAX_ATTRIBUTES);
            value(DeclaredKind::Map(by_name), MAX_ATTRIBUTES)
        };
        let fields = [
            ("driver", value(DeclaredKind::String, u64::from(u8::MAX))),
            ("allowMultipleAllocations", value(DeclaredKind::Bool, 1)),
            ("attributes", by_domain()),
            ("capacity", by_domain()),
        ];
        let fields = fields.into_iter().map(|(name, of)| {
            let name: Arc<str> = name.into();
            (Arc::clone(&name), DeclaredField { name, of })
        });
        value(DeclaredKind::Object(fields.collect()), 1)
    });
    Environment::new().declared("device", &DEVICE).binds()
}

/// A selector of devices, compiled.
#[derive(Clone, Debug)]
pub struct DeviceSelector {
    program: Program,
    /// The domains that it names: of those that a device has nothing of, it finds nothing.
    domains: Vec<String>,
}

impl DeviceSelector {
    /// Compiles a selector.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &str) -> Result<Self, super::CompileError> {
        Ok(Self { program: device_environment().compile(text)?, domains: named(text) })
    }

    /// Whether it selects a device.
    ///
    /// # Errors
    /// Why it has no answer: it asks for an attribute that the device has not, or costs too much.
    pub fn selects(&self, device: &Device) -> Result<bool, EvalError> {
        let device = self.value(device);
        let answer = self.program.evaluate(&[device], &mut Budget::new(Budget::CALL))?;
        Ok(answer.as_bool() == Some(true))
    }

    fn value(&self, device: &Device) -> Val<'static> {
        let attribute = |attribute: &Attribute| match attribute {
            Attribute::Bool(value) => Val::Bool(*value),
            Attribute::Int(value) => Val::Int(*value),
            Attribute::Text(text) => Val::text(text.as_str()),
            Attribute::Version(text) => match Semver::parse(text, false) {
                Some(version) => Val::special(Special::Semver(version)),
                None => Val::text(text.as_str()),
            },
        };
        let amount = |amount: &Quantity| Val::special(Special::Quantity(*amount));
        map([
            ("driver", Val::text(device.driver.as_str())),
            ("allowMultipleAllocations", Val::Bool(device.is_shared)),
            ("attributes", self.by_domain(&device.attributes, attribute)),
            ("capacity", self.by_domain(&device.capacity, amount)),
        ])
    }

    fn by_domain<T>(
        &self,
        held: &BTreeMap<String, BTreeMap<String, T>>,
        value: impl Fn(&T) -> Val<'static>,
    ) -> Val<'static> {
        let of =
            |values: &BTreeMap<String, T>| map(values.iter().map(|(name, it)| (name.as_str(), value(it))));
        let none = self.domains.iter().map(|domain| (domain.as_str(), map([])));
        map(none.chain(held.iter().map(|(domain, values)| (domain.as_str(), of(values)))))
    }
}

fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Val<'static>)>) -> Val<'static> {
    let entries = entries.into_iter().map(|(key, value)| (Key::Text(key.into()), value));
    Val::Map(Rc::new(entries.collect()))
}

/// The texts that stand alone in brackets, as domains do.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in text.split('[').skip(1) {
        let Some((inside, _)) = part.split_once(']') else { continue };
        let inside = inside.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| inside.strip_prefix(*quote)?.strip_suffix(*quote));
        names.extend(quoted.map(str::to_owned));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        let attributes = BTreeMap::from([
            ("model".to_owned(), Attribute::Text("a".into())),
            ("cores".to_owned(), Attribute::Int(4)),
            ("firmware".to_owned(), Attribute::Version("1.10.0".into())),
            ("ecc".to_owned(), Attribute::Bool(true)),
        ]);
        let capacity = BTreeMap::from([("memory".to_owned(), Quantity::parse("16Gi").unwrap())]);
        Device {
            driver: "gpu.example.com".into(),
            is_shared: false,
            attributes: BTreeMap::from([("gpu.example.com".into(), attributes)]),
            capacity: BTreeMap::from([("gpu.example.com".into(), capacity)]),
        }
    }

    #[test]
    fn a_selector_looks_at_driver_attributes_and_capacities() {
        for (text, expected) in [
            ("device.driver == 'gpu.example.com'", true),
            ("device.attributes['gpu.example.com'].model == 'a'", true),
            ("device.attributes['gpu.example.com'].cores > 4", false),
            ("device.attributes['gpu.example.com'].ecc", true),
            ("device.attributes['gpu.example.com'].firmware.isGreaterThan(semver('1.9.0'))", true),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('8Gi')) >= 0", true),
            ("'x' in device.attributes['other.example.com']", false),
            ("has(device.attributes[\"other.example.com\"].x)", false),
            ("!device.allowMultipleAllocations", true),
        ] {
            let selector = DeviceSelector::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.selects(&device()).ok(), Some(expected), "{text}");
        }
        let missing = DeviceSelector::compile("device.attributes['gpu.example.com'].none == 1").unwrap();
        assert!(missing.selects(&device()).is_err());
        assert!(DeviceSelector::compile("device.nothing").is_err());
    }
}
