//! The status of ValidatingAdmissionPolicies: which generation of one was looked at, and which of its expressions do not fit
//! the kinds that it is about.

use k8s_openapi::api::admissionregistration::v1::{
    ExpressionWarning, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec,
};
use serde::Deserialize;
use serde_json::json;

use super::Host;
use crate::api::schema::declare;
use crate::api::{Kind, Status, api_version};
use crate::control::{Action, Context, Error, predicate, write};
use crate::objects::admission_registration::expressions::{Compiler, Wanted, Whose};

/// Its name, also as the manager of what it writes.
const NAME: &str = "validatingadmissionpolicy-status";
/// How many kinds expressions are checked against, as in Kubernetes.
const MAX_KINDS: usize = 10;

/// What is read of a policy.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    status: PolicyStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PolicyStatus {
    observed_generation: i64,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller =
        host.controller::<ValidatingAdmissionPolicy>().named(NAME).when(predicate::generation_changed);
    host.run(controller, observe).await
}

async fn observe(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<ValidatingAdmissionPolicy>().await? else { return Ok(Action::Done) };
    let generation = entry.generation();
    if entry.view::<View>()?.status.observed_generation == generation {
        return Ok(Action::Done);
    }
    let spec = entry.decode_bare::<ValidatingAdmissionPolicy>()?.spec.unwrap_or_default();
    let kinds = context.client().service().kinds().await?;
    let warnings = warnings(&spec, &kinds);
    let checking = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    let status = json!({ "observedGeneration": generation, "typeChecking": checking });
    let client = context.client();
    let written = write::apply_status::<ValidatingAdmissionPolicy>(client, &entry, NAME, status).await;
    write::unless_gone(written)?;
    Ok(Action::Done)
}

/// What is wrong with the expressions of a policy, were they asked about the kinds that its rules name.
fn warnings(spec: &ValidatingAdmissionPolicySpec, kinds: &[Kind]) -> Vec<ExpressionWarning> {
    let mut compilers: Vec<(String, Compiler)> = Vec::new();
    for (version, kind) in named(spec, kinds) {
        let Some(declared) = declare::of_kind(&version, &kind) else { continue };
        let whose = Whose::Validating { params: spec.param_kind.is_some() };
        let mut compiler = Compiler::over(whose, Some(&declared));
        for variable in spec.variables.iter().flatten() {
            // What is wrong with a variable is told where it is used.
            let _ = compiler.variable(&variable.name, &variable.expression);
        }
        compilers.push((format!("{version}, Kind={kind}"), compiler));
    }
    let mut warnings = Vec::new();
    for (index, validation) in spec.validations.iter().flatten().enumerate() {
        let message = validation.message_expression.as_deref().filter(|text| !text.is_empty());
        let texts = [("expression", Some(&*validation.expression)), ("messageExpression", message)];
        for (field, text) in texts.into_iter().filter_map(|(field, text)| Some((field, text?))) {
            let faults = compilers.iter().filter_map(|(shown, compiler)| {
                let why = compiler.compile(text, Wanted::Anything).err()?;
                let why = why.strip_prefix("compilation failed: ").unwrap_or(&why);
                Some(format!("{shown}: {why}\n"))
            });
            let warning: String = faults.collect();
            if !warning.is_empty() {
                let field_ref = format!("spec.validations[{index}].{field}");
                warnings.push(ExpressionWarning { field_ref, warning });
            }
        }
    }
    warnings
}

/// The kinds that rules name one by one, by `apiVersion` and kind, in order.
fn named(spec: &ValidatingAdmissionPolicySpec, kinds: &[Kind]) -> Vec<(String, String)> {
    let constraints = spec.match_constraints.as_ref();
    let rules = constraints.iter().flat_map(|constraints| constraints.resource_rules.iter().flatten());
    let mut found = std::collections::BTreeSet::new();
    for rule in rules {
        let lists = [&rule.api_groups, &rule.api_versions, &rule.resources];
        let [groups, versions, resources] = lists.map(|list| list.as_deref().unwrap_or_default());
        let any = |list: &[String]| list.iter().any(|item| item.contains('*'));
        if any(groups) || any(versions) || any(resources) {
            continue;
        }
        let named = kinds.iter().filter(|kind| {
            groups.iter().any(|group| **group == *kind.id.group)
                && resources.iter().any(|resource| **resource == *kind.id.resource)
        });
        for kind in named {
            let all = versions.iter().map(|version| (kind.id.group.to_string(), version.clone()));
            found.extend(all.map(|(group, version)| (group, version, kind.kind.to_string())));
        }
    }
    let found = found.into_iter().take(MAX_KINDS);
    found.map(|(group, version, kind)| (api_version(&group, &version), kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{GroupResource, Scope};

    fn kind(group: &str, version: &str, resource: &str, kind: &str) -> Kind {
        let id = GroupResource::new(group, resource);
        Kind { id, version: version.into(), kind: kind.into(), scope: Scope::Namespaced }
    }

    #[test]
    fn expressions_that_do_not_fit_the_kinds_of_a_policy_are_told() {
        let spec: ValidatingAdmissionPolicySpec = serde_json::from_value(json!({
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]},
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]},
            ]},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.spec.replica > 1"},
                {"expression": "variables.replicas > 1", "messageExpression": "'a' + variables.replicas"},
                {"expression": "object.metadata.labels.a == 'b' && object.spec.template.spec.containers.all(c, c.image != '')"},
                {"expression": "object.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z')"},
            ],
        }))
        .unwrap();
        let kinds = [kind("apps", "v1", "deployments", "Deployment"), kind("", "v1", "pods", "Pod")];
        let warnings = warnings(&spec, &kinds);
        let told: Vec<_> = warnings.iter().map(|warning| (&*warning.field_ref, &*warning.warning)).collect();
        assert_eq!(
            told,
            [
                (
                    "spec.validations[0].expression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n | object.spec.replica > \
                     1\n | ...........^\n"
                ),
                (
                    "spec.validations[1].messageExpression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:5: found no matching overload for '_+_' applied to \
                     '(string, int)'\n | 'a' + variables.replicas\n | ....^\n"
                ),
            ]
        );
    }
}
