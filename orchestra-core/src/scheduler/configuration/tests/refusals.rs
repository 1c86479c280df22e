//! Files that are refused, and with what.

use super::{of_args, of_profile, parse, refusal};
use crate::scheduler::Configuration;

#[test]
fn what_there_is_not_is_refused_with_its_path() {
    for (text, says) in [
        ("bogus: 1", "unknown field \"bogus\""),
        ("parallelism: 1\nparallelism: 2", "duplicate field \"parallelism\""),
        ("profiles: [{schedulerName: a, schedulerName: b}]", "duplicate field \"profiles[0].schedulerName\""),
        (
            "bogus: 1\nprofiles: [{schedulerName: a, plugin: {}, plugins: {filter: {on: []}}}]",
            "unknown field \"bogus\", unknown field \"profiles[0].plugin\", unknown field \"profiles[0].plugins.filter.true\"",
        ),
        (
            &of_profile(
                "pluginConfig: [{name: NodeResourcesFit, args: {bogus: 1, scoringStrategy: {typo: x}}}, {name: InterPodAffinity, args: {bogus: 1}}]",
            ),
            "decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for plugin NodeResourcesFit: strict decoding error: unknown field \"bogus\", unknown field \"scoringStrategy.typo\", decoding .profiles[0].pluginConfig[1]: strict decoding error: decoding args for plugin InterPodAffinity: strict decoding error: unknown field \"bogus\"",
        ),
    ] {
        assert_eq!(refusal(text), format!("strict decoding error: {says}"), "{text}");
    }
}

#[test]
fn what_is_of_another_type_is_refused_in_the_words_of_go() {
    for (text, says) in [
        (
            "parallelism: many".to_owned(),
            "json: cannot unmarshal string into Go struct field KubeSchedulerConfiguration.parallelism of type int32",
        ),
        (
            "profiles: {}".to_owned(),
            "json: cannot unmarshal object into Go struct field KubeSchedulerConfiguration.profiles of type []v1.KubeSchedulerProfile",
        ),
        (
            "leaderElection: {leaseDuration: 5}".to_owned(),
            "json: cannot unmarshal number into Go struct field LeaderElectionConfiguration.leaderElection.leaseDuration of type string",
        ),
        (
            of_args("InterPodAffinity", "{hardPodAffinityWeight: x}"),
            "decoding .profiles[0].pluginConfig[0]: decoding args for plugin InterPodAffinity: json: cannot unmarshal string into Go struct field InterPodAffinityArgs.hardPodAffinityWeight of type int32",
        ),
        (
            of_args("DynamicResources", "{filterTimeout: x}"),
            "decoding .profiles[0].pluginConfig[0]: decoding args for plugin DynamicResources: time: invalid duration \"x\"",
        ),
        (
            of_args(
                "NodeResourcesFit",
                "{kind: InterPodAffinityArgs, apiVersion: kubescheduler.config.k8s.io/v1}",
            ),
            "decoding .profiles[0].pluginConfig[0]: args for plugin NodeResourcesFit were not of type NodeResourcesFitArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
        ),
    ] {
        assert_eq!(refusal(&text), says, "{text}");
    }
    for (text, says) in [
        (
            "kind: KubeSchedulerConfiguration\n",
            "Object 'apiVersion' is missing in 'kind: KubeSchedulerConfiguration\n'",
        ),
        ("", "Object 'Kind' is missing in ''"),
        (
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: NodeAffinityArgs",
            "couldn't decode as KubeSchedulerConfiguration, got kubescheduler.config.k8s.io/v1, Kind=NodeAffinityArgs: ",
        ),
        (
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: Bogus",
            "no kind \"Bogus\" is registered for version \"kubescheduler.config.k8s.io/v1\"",
        ),
    ] {
        assert_eq!(Configuration::parse(text.as_bytes()).unwrap_err().to_string(), says);
    }
    let old = b"apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration";
    let said = Configuration::parse(old).unwrap_err().to_string();
    let begin = "no kind \"KubeSchedulerConfiguration\" is registered for version \"kubescheduler.config.k8s.io/v1beta3\"";
    assert!(said.starts_with(begin), "{said}");
}

#[test]
fn values_are_refused_in_the_words_of_kubernetes() {
    for (text, says) in [
        ("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (
            "percentageOfNodesToScore: 101",
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "podInitialBackoffSeconds: -1\npodMaxBackoffSeconds: -2",
            "[podInitialBackoffSeconds: Invalid value: -1: must be greater than 0, podMaxBackoffSeconds: Invalid value: -2: must be greater than or equal to PodInitialBackoffSeconds]",
        ),
        ("profiles: [{}, {schedulerName: b}]", "profiles[0].schedulerName: Required value"),
        (
            "profiles: [{schedulerName: b}, {schedulerName: b}]",
            "profiles[1].schedulerName: Duplicate value: {}",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}, {schedulerName: b}]",
            "profiles[1].plugins.queueSort: Invalid value: {\"Enabled\":null,\"Disabled\":null}: must be the same for all profiles",
        ),
        (
            "leaderElection: {leaderElect: true, leaseDuration: 5s, renewDeadline: 10s, retryPeriod: 20s, resourceLock: x}",
            "[leaderElection.leaseDuration: Invalid value: \"10s\": must be greater than `RenewDeadline`, leaderElection.resourceLock: Invalid value: \"x\": resourceLock value must be \"leases\"]",
        ),
        ("clientConnection: {burst: -1}", "clientConnection.burst: Invalid value: -1: must be non-negative"),
        (
            "parallelism: 0\npercentageOfNodesToScore: 101\npodInitialBackoffSeconds: 0\nprofiles: [{schedulerName: ''},{schedulerName: ''}]",
            "[parallelism: Invalid value: 0: should be an integer value greater than zero, profiles[0].schedulerName: Required value, profiles[1].schedulerName: Required value, profiles[1].schedulerName: Duplicate value: {}, percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100], podInitialBackoffSeconds: Invalid value: 0: must be greater than 0]",
        ),
    ] {
        assert_eq!(refusal(text), says, "{text}");
    }
    let removed = of_profile("plugins: {filter: {enabled: [{name: EBSLimits}]}}");
    assert_eq!(
        refusal(&removed),
        "profiles[0].plugins.filter.enabled[0]: Invalid value: \"EBSLimits\": was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")"
    );
    let twice =
        of_profile("pluginConfig: [{name: NodeResourcesFit, args: {}}, {name: NodeResourcesFit, args: {}}]");
    assert_eq!(refusal(&twice), "profiles[0].pluginConfig[1]: Duplicate value: \"NodeResourcesFit\"");
}

#[test]
fn arguments_are_refused_in_the_words_of_kubernetes() {
    let args = "profiles[0].pluginConfig[0].args";
    for (plugin, given, says) in [
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu, weight: 2},{name: cpu}]}",
            "[ARGS.resources[0].weight: Invalid value: 2: must be 1, ARGS.resources[1].name: Duplicate value: \"cpu\"]",
        ),
        (
            "InterPodAffinity",
            "{hardPodAffinityWeight: 101}",
            "ARGS.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}",
            "[ARGS.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute, ARGS.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage]",
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 101, minCandidateNodesAbsolute: -1}",
            "[ARGS.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100], ARGS.minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)]",
        ),
        (
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
            "ARGS.defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: '', whenUnsatisfiable: ''}, {maxSkew: 1, topologyKey: ab, whenUnsatisfiable: Bogus, labelSelector: {}}, {maxSkew: 1, topologyKey: ab, whenUnsatisfiable: Bogus}]}",
            "[ARGS.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), ARGS.defaultConstraints[0].topologyKey: Required value: can not be empty, ARGS.defaultConstraints[0].whenUnsatisfiable: Required value: can not be empty, ARGS.defaultConstraints[1].whenUnsatisfiable: Unsupported value: \"Bogus\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\", ARGS.defaultConstraints[1].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod, ARGS.defaultConstraints[2].whenUnsatisfiable: Unsupported value: \"Bogus\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\", ARGS.defaultConstraints[2]: Duplicate value: \"{ab, Bogus}\"]",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: Bogus}",
            "ARGS.defaultingType: Unsupported value: \"Bogus\": supported values: \"System\", \"List\"",
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Bogus, values: [b]}]}]}}}",
            "ARGS.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: \"Bogus\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\"",
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: Exists}]}, {matchFields: [{key: metadata.name, operator: In, values: [a, b]}]}]}}}",
            "[ARGS.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator: Unsupported value: \"Exists\": supported values: \"In\", \"NotIn\", ARGS.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchFields[0].values: Invalid value: [\"a\",\"b\"]: must have one element]",
        ),
        (
            "VolumeBinding",
            "{bindTimeoutSeconds: -1}",
            "ARGS.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (
            "VolumeBinding",
            "{shape: [{utilization: 1, score: 1}]}",
            "ARGS.shape: Invalid value: [{\"Utilization\":1,\"Score\":1}]: unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
        ),
        (
            "DynamicResources",
            "{filterTimeout: -1s, bindingTimeout: 1ms}",
            "[ARGS.filterTimeout: Invalid value: \"-1s\": must be zero or positive, ARGS.bindingTimeout: Invalid value: \"1ms\": must be at least 1 second]",
        ),
    ] {
        assert_eq!(refusal(&of_args(plugin, given)), says.replace("ARGS", args), "{given}");
    }
}

#[test]
fn a_profile_that_cannot_be_put_together_is_refused_in_the_words_of_kubernetes() {
    let fit = |args: &str| of_args("NodeResourcesFit", args);
    let making = "initializing plugin \"NodeResourcesFit\": ";
    for (text, says) in [
        (of_profile("plugins: {queueSort: {disabled: [{name: '*'}]}}"), "only one queue sort plugin required for profile with scheduler name \"default-scheduler\", but got 0".to_owned()),
        (of_profile("plugins: {multiPoint: {disabled: [{name: DefaultBinder}]}}"), "at least one bind plugin is needed for profile with scheduler name \"default-scheduler\"".to_owned()),
        (of_profile("plugins: {filter: {enabled: [{name: Bogus}]}}"), "FilterPlugin \"Bogus\" does not exist".to_owned()),
        (of_profile("plugins: {multiPoint: {enabled: [{name: Bogus}]}}"), "PreFilterPlugin \"Bogus\" does not exist".to_owned()),
        (of_profile("plugins: {score: {enabled: [{name: NodeName}]}}"), "plugin \"NodeName\" does not extend ScorePlugin plugin".to_owned()),
        (of_profile("plugins: {score: {enabled: [{name: ImageLocality},{name: ImageLocality}]}}"), "plugin \"ImageLocality\" already registered as \"ScorePlugin\"".to_owned()),
        (of_profile("plugins: {multiPoint: {enabled: [{name: ImageLocality},{name: ImageLocality}]}}"), "plugin \"ImageLocality\" already registered as \"ScorePlugin\"".to_owned()),
        (of_profile("plugins: {score: {enabled: [{name: ImageLocality, weight: -5}]}}"), "score plugins: total score of Score plugins could overflow".to_owned()),
        (fit("{scoringStrategy: {}}"), format!("{making}scoringStrategy.type: Unsupported value: \"\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"")),
        (fit("{scoringStrategy: {type: RequestedToCapacityRatio}}"), format!("{making}scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio")),
        (fit("{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: []}}}"), format!("{making}scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified")),
        (
            fit("{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 50, score: 1},{utilization: 10, score: 11},{utilization: 101, score: -1}]}}}"),
            format!("{making}[scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 10: values must be sorted in increasing order, scoringStrategy.requestedToCapacityRatio.shape[1].score: Invalid value: 11: not in valid range [0, 10], scoringStrategy.requestedToCapacityRatio.shape[2].utilization: Invalid value: 101: not in valid range [0, 100], scoringStrategy.requestedToCapacityRatio.shape[2].score: Invalid value: -1: not in valid range [0, 10]]"),
        ),
        (
            fit("{scoringStrategy: {type: LeastAllocated, resources: [{name: cpu, weight: 101},{name: memory, weight: -1},{name: a, weight: 0}], requestedToCapacityRatio: {}}}"),
            format!("{making}[scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100], scoringStrategy.resources[1].weight: Invalid value: -1: resource weight of memory not in valid range (0, 100], scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio]"),
        ),
    ] {
        let begin = "initializing profiles: creating profile for scheduler name default-scheduler: ";
        assert_eq!(refusal(&text), format!("{begin}{says}"), "{text}");
    }
}

/// Kubernetes takes all of these.
#[test]
fn what_this_scheduler_cannot_do_is_refused_and_not_ignored() {
    for (text, at) in [
        ("extenders: [{urlPrefix: 'http://x', filterVerb: f}]".to_owned(), "extenders: Forbidden"),
        ("clientConnection: {kubeconfig: /etc/kc}".to_owned(), "clientConnection: Forbidden"),
        ("leaderElection: {leaseDuration: 30s}".to_owned(), "leaderElection: Forbidden"),
        (
            of_profile("plugins: {filter: {enabled: [{name: NodeDeclaredFeatures}]}}"),
            "profiles[0].plugins.filter: Forbidden: this scheduler has no NodeDeclaredFeatures",
        ),
        (
            of_profile("plugins: {multiPoint: {enabled: [{name: DynamicResources, weight: 9}]}}"),
            "profiles[0].plugins.score: Forbidden: DynamicResources gives no points here",
        ),
        (
            of_profile("plugins: {permit: {enabled: [{name: GangScheduling}]}}"),
            "profiles[0].plugins.permit: Forbidden",
        ),
        (
            of_profile("plugins: {preEnqueue: {disabled: [{name: SchedulingGates}]}}"),
            "profiles[0].plugins.preEnqueue: Forbidden",
        ),
        (
            of_profile("plugins: {filter: {disabled: [{name: VolumeBinding}]}}"),
            "profiles[0].plugins.filter: Forbidden",
        ),
        (
            of_profile("plugins: {preFilter: {disabled: [{name: NodePorts}]}}"),
            "profiles[0].plugins.preFilter: Forbidden",
        ),
        (of_args("DynamicResources", "{filterTimeout: 20s}"), "profiles[0].pluginConfig[0].args: Forbidden"),
        (of_args("ImageLocality", "{a: 1}"), "profiles[0].pluginConfig[0].args: Forbidden"),
    ] {
        let said = refusal(&text);
        assert!(
            said.starts_with("this scheduler cannot do what the file asks for: ") && said.contains(at),
            "{said}"
        );
    }
}

#[test]
fn what_makes_no_difference_is_told() {
    let told = |text: &str| parse(text).unwrap().without_effect;
    assert!(told("").is_empty());
    let all = told(
        "parallelism: 4\nleaderElection: {leaderElect: false}\ndelayCacheUntilActive: true\nenableProfiling: false",
    );
    assert_eq!(all.len(), 4, "{all:?}");
}
