//! What a provider says of itself (OpenID Connect Discovery 1.0).

use serde_json::Value;
use url::Url;

use crate::OpenIdError;
use crate::fetch::place;

#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub authorization: Url,
    pub token: Url,
    pub keys: Url,
    pub userinfo: Option<Url>,
    /// The secret goes in `Authorization`; else in the form.
    pub basic: bool,
    /// It says its name in the answer by the browser (RFC 9207).
    pub says_issuer: bool,
}

/// Where that is said.
pub(crate) fn place_of(issuer: &str) -> Result<Url, String> {
    let url = place(issuer)?;
    if url.query().is_some() {
        return Err(format!("'{issuer}': an issuer has no '?'"));
    }
    place(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}

/// Reads it. `issuer`: as it was set up; another one is not who is meant.
pub(crate) fn read(at: &str, issuer: &str, document: &Value) -> Result<Metadata, OpenIdError> {
    let strange = |why: String| OpenIdError::strange(at, why);
    if !document.is_object() {
        return Err(strange("no object".to_owned()));
    }
    let said = document["issuer"].as_str().unwrap_or_default();
    if said != issuer {
        return Err(strange(format!("it calls itself '{said}', and not '{issuer}'")));
    }
    let optional = |name: &str| match &document[name] {
        Value::Null => Ok(None),
        Value::String(text) => {
            place(text).map(Some).map_err(|why| strange(format!("{name}: {why}")))
        }
        _ => Err(strange(format!("{name} is no text"))),
    };
    let needed =
        |name: &str| optional(name)?.ok_or_else(|| strange(format!("it does not say its {name}")));
    let methods = document["token_endpoint_auth_methods_supported"].as_array();
    let takes = |method: &str| methods.is_some_and(|all| all.iter().any(|one| one == method));
    Ok(Metadata {
        authorization: needed("authorization_endpoint")?,
        token: needed("token_endpoint")?,
        keys: needed("jwks_uri")?,
        userinfo: optional("userinfo_endpoint")?,
        basic: methods.is_none() || takes("client_secret_basic") || !takes("client_secret_post"),
        says_issuer: document["authorization_response_iss_parameter_supported"] == true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_provider_is_who_was_set_up_and_names_only_places_that_may_be_asked() {
        let good = json!({
            "issuer": "https://idp", "authorization_endpoint": "https://idp/a", "token_endpoint": "https://idp/t",
            "jwks_uri": "https://other/keys", "token_endpoint_auth_methods_supported": ["client_secret_post"],
        });
        let metadata = read("idp", "https://idp", &good).unwrap();
        assert!(!metadata.basic && metadata.userinfo.is_none());
        assert!(read("idp", "https://idp/", &good).is_err(), "another issuer");
        for (field, value) in [
            ("jwks_uri", json!("http://idp/keys")),
            ("jwks_uri", json!(null)),
            ("token_endpoint", json!(["https://idp"])),
            ("userinfo_endpoint", json!("file:///etc/passwd")),
        ] {
            let mut wrong = good.clone();
            wrong[field] = value;
            assert!(read("idp", "https://idp", &wrong).is_err(), "{wrong}");
        }
        assert!(read("idp", "", &json!([])).is_err());
        assert_eq!(
            place_of("https://idp/realm/").unwrap().as_str(),
            "https://idp/realm/.well-known/openid-configuration"
        );
        assert!(place_of("https://idp/?a").is_err());
    }
}
