//! The schemas of what verbs take and give, made from the very structs.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::rights::Principal;
use crate::{Server, ServerError};

/// How the schemas of a verb are made.
pub(super) struct Shape {
    /// The method of the [`Server`] behind the verb: a test holds it against the table of verbs.
    #[cfg(test)]
    pub method: &'static str,
    pub make: fn(&mut Shapes) -> Pair,
}

/// What a verb takes and gives.
pub(super) struct Pair {
    /// A schema without references; of a verb that takes nothing, of an object without fields.
    pub request: Value,
    pub reply: Value,
}

/// Makes schemas. Those of answers refer to each other by name.
pub(super) struct Shapes {
    replies: SchemaGenerator,
}

impl Shapes {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { replies: settings.into_generator() }
    }

    /// Of a verb that takes a request.
    pub(super) fn with<Q: JsonSchema, R: JsonSchema>(
        &mut self,
        _: impl AsyncFn(&Server, &Principal, Q) -> Result<R, ServerError>,
    ) -> Pair {
        self.typed::<Q, R>()
    }

    /// Of a verb that takes nothing.
    pub(super) fn plain<R: JsonSchema>(
        &mut self,
        _: impl AsyncFn(&Server, &Principal) -> Result<R, ServerError>,
    ) -> Pair {
        Pair {
            request: json!({"type": "object", "additionalProperties": false}),
            reply: self.reply::<R>(),
        }
    }

    pub(super) fn typed<Q: JsonSchema, R: JsonSchema>(&mut self) -> Pair {
        let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let mut request = Value::from(settings.into_generator().into_root_schema_for::<Q>());
        if let Some(request) = request.as_object_mut() {
            request.remove("title");
        }
        Pair { request, reply: self.reply::<R>() }
    }

    fn reply<R: JsonSchema>(&mut self) -> Value {
        Value::from(self.replies.subschema_for::<R>())
    }

    /// The schemas that were referred to, by name.
    pub(super) fn named(mut self) -> Map<String, Value> {
        self.replies.take_definitions(true)
    }
}

/// The types that a value may have, of its schema.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for several in ["anyOf", "oneOf"] {
        for one in schema[several].as_array().into_iter().flatten() {
            found.extend(types(one));
        }
    }
    found
}
