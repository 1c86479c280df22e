use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplate;
use serde_json::Value;

use super::{print, template};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules};

/// The rules of PodTemplate objects.
pub(super) struct PodTemplateRules;

impl Rules for PodTemplateRules {
    type Object = PodTemplate;

    const GENERATION: bool = true;
    const DELETION: Deletion = Deletion::Object;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Containers", "The names of the containers in the template."),
        Column::new("Images", "The images of the containers in the template."),
        Column::new("Pod Labels", "The labels of pods made from the template."),
    ];

    fn default(object: &mut Value) {
        object.as_object_mut().into_iter().for_each(template::default);
    }

    fn validate(object: &PodTemplate, errors: &mut Errors) {
        template::validate(&object.template.clone().unwrap_or_default(), &Path::new("template"), errors);
    }

    fn warnings(object: &PodTemplate) -> Vec<String> {
        template::warnings(object.template.as_ref(), &Path::new("template"))
    }

    fn cells(object: &PodTemplate, _now: Timestamp) -> Vec<Value> {
        let (containers, images) = print::containers(object.template.as_ref());
        let meta = object.template.as_ref().and_then(|template| template.metadata.as_ref());
        vec![
            object.metadata.name.clone().into(),
            containers.into(),
            images.into(),
            print::labels(meta.and_then(|meta| meta.labels.as_ref())).into(),
        ]
    }
}
