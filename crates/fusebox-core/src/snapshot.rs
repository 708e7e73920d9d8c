use std::time::Duration;

use crate::{LayerKind, Mode, Name};

/// What a handle looks like at one moment, in a form any dashboard can show.
///
/// The fields are in the order the handle chose. With the feature `serde` it serialises to one flat
/// map: `layer`, `name`, `mode`, then the fields; durations are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Which layer.
    pub layer: LayerKind,
    /// Which policy, compartment or circuit.
    pub name: Name,
    /// Whether it acts on its decisions.
    pub mode: Mode,
    /// Its settings, counters and gauges.
    pub fields: Vec<(&'static str, Value)>,
}

/// One value of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Only ever grows: events since the handle was made.
    Count(u64),
    /// Goes up and down: what is so now, or a setting.
    Gauge(u64),
    /// A length of time.
    Time(Duration),
    /// A word.
    Text(String),
    /// More values, each with its name.
    Map(Vec<(&'static str, Value)>),
    /// [`Count`](Self::Count)s whose names are known only when it runs: rules by their numbers.
    Counts(Vec<(String, u64)>),
}

impl Snapshot {
    /// A snapshot without fields yet.
    #[must_use]
    pub const fn new(layer: LayerKind, name: Name, mode: Mode) -> Self {
        Self {
            layer,
            name,
            mode,
            fields: Vec::new(),
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.fields.push((name, value));
        self
    }

    /// The field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use serde::{Serialize, Serializer, ser::SerializeMap};

    use super::{Snapshot, Value};

    impl Serialize for Snapshot {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(3 + self.fields.len()))?;
            map.serialize_entry("layer", &self.layer)?;
            map.serialize_entry("name", &self.name)?;
            map.serialize_entry("mode", &self.mode)?;
            for (name, value) in &self.fields {
                map.serialize_entry(name, value)?;
            }
            map.end()
        }
    }

    impl Serialize for Value {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Count(number) | Self::Gauge(number) => serializer.serialize_u64(*number),
                Self::Time(time) => serializer.serialize_f64(time.as_secs_f64()),
                Self::Text(text) => serializer.serialize_str(text),
                Self::Map(values) => {
                    serializer.collect_map(values.iter().map(|(name, value)| (name, value)))
                }
                Self::Counts(counts) => {
                    serializer.collect_map(counts.iter().map(|(name, count)| (name, count)))
                }
            }
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn serialises_to_one_flat_map() {
        let snapshot = Snapshot::new(LayerKind::Bulkhead, "payments".into(), Mode::Shadow)
            .with("slots", Value::Gauge(20))
            .with(
                "latency",
                Value::Map(vec![("p99", Value::Time(Duration::from_millis(250)))]),
            )
            .with("hits", Value::Counts(vec![("942100".to_owned(), 7)]));
        assert_eq!(
            serde_json::to_string(&snapshot).unwrap(),
            r#"{"layer":"bulkhead","name":"payments","mode":"shadow","slots":20,"latency":{"p99":0.25},"hits":{"942100":7}}"#
        );
    }
}
