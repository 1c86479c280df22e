use super::canonical;
use super::encode::encode;
use crate::api::protobuf::decode;
use crate::api::schema::Place;

pub(super) fn check(body: &[u8]) {
    let Ok(object) = decode(body) else { return };
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if let Some(place @ Place::Type(of)) = Place::of_kind(&api_version, &kind) {
        let again = decode(&encode(&api_version, &kind, of, &object)).expect("what is written is read");
        assert_eq!(again, object, "it does not survive being written");
        canonical::settles(place, object);
    }
}
