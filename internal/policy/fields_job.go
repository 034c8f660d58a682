// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// jobFields are those of the Job itself and of its Pod template. Source: the documentation of batch/v1 and what the job-controller does
// with each field.
func jobFields() []Field {
	return slices.Concat(
		of("JobSpec",
			only("parallelism", "one Pod holds the credential", "1"),
			needed("completions", "one Pod holds the credential", "1"),
			needed("backoffLimit", "whoever needs a retry asks again", "0"),
			only("completionMode", "one Pod holds the credential", "NonIndexed"),
			only("manualSelector", "the Job would adopt other Pods", "false"),
			only("managedBy", "only the job-controller's Pods are projected", "kubernetes.io/job-controller"),
			unless(among(rest("when a Pod that ends counts as failed", "podReplacementPolicy"), "TerminatingOrFailed", "Failed"), "TerminatingOrFailed"),
			refused("it can replace a Pod that failed", "podFailurePolicy"),
			refused("it can end the Job while its Pod runs", "successPolicy"),
			refused("one request is one run", "backoffLimitPerIndex", "maxFailedIndexes"),
			refused("Pods would be scheduled as a group", "scheduling"),
			harmless("the API server writes it: one with anything beside is refused, and so is manualSelector", "selector"),
			written(harmless("the hold sets it, and the grant takes it away", "suspend")),
			written(harmless("the hold moves it to the Pod template, and the grant sets it to what is left", "activeDeadlineSeconds")),
			anyStep(reviewed(Placement, "how long the Job and its log are kept", "ttlSecondsAfterFinished")),
			anyStep(reviewed(Program, "see its own fields", "template")),
		),
		of("PodTemplateSpec", anyStep(reviewed(Program, "see its own fields", "metadata", "spec"))),
		of("ObjectMeta",
			anyStep(reviewed(Network, "Services and network policies select Pods by them", "labels")),
			reviewed(Content, "runtimes, network plug-ins and webhooks read them", "annotations"),
			refused("the Pod would stay after its end", "finalizers"),
			refused("the Pod is its Job's alone", "ownerReferences"),
			harmless("the job-controller leaves it out", "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion",
				"generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
			refused("a template has none", "managedFields"),
		),
	)
}

// podFields are those of the Pod. Source: the documentation of core/v1, and the kubelet's behaviour as tried on a node.
func podFields() []Field {
	return slices.Concat(
		of("PodSpec",
			anyStep(reviewed(Program, "see their own fields", "initContainers", "containers")),
			anyStep(unless(reviewed(Identity, "see its own fields", "securityContext"), empty)),
			listed(reviewed(Content, "see their own fields", "volumes")),
			refused("nothing joins a Pod that holds a credential", "ephemeralContainers"),
			needed("restartPolicy", "whoever needs a retry asks again", "Never"),
			harmless("a granted Pod gets five seconds, whatever it says", "terminationGracePeriodSeconds"),
			anyStep(reviewed(Placement, "the Pod ends when it is over, or when the grant is", "activeDeadlineSeconds")),
			unless(among(reviewed(Network, "whom names stand for", "dnsPolicy"), "ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"), "ClusterFirst"),
			reviewed(Network, "whom names stand for", "dnsConfig", "hostAliases"),
			needed("enableServiceLinks", "Services of the namespace would set variables; the API server writes it", "false"),
			only("hostNetwork", "the credential shares no namespace of the node", "false"),
			only("hostPID", "the credential shares no namespace of the node", "false"),
			only("hostIPC", "the credential shares no namespace of the node", "false"),
			only("shareProcessNamespace", "its other containers could read the credential", "false"),
			anyStep(reviewed(Identity, "as whom it runs", "serviceAccountName")),
			harmless("it is an older name of serviceAccountName", "serviceAccount"),
			anyStep(reviewed(Identity, "whether it has its ServiceAccount's token", "automountServiceAccountToken")),
			anyStep(reviewed(Identity, "whose images it can have", "imagePullSecrets")),
			refused("a Pod of a node that is not there ends unseen; name one by nodeSelector, kubernetes.io/hostname", "nodeName"),
			anyStep(reviewed(Placement, "where it runs", "nodeSelector", "affinity", "tolerations", "topologySpreadConstraints")),
			anyStep(unless(reviewed(Placement, "where it runs", "schedulerName"), "default-scheduler")),
			reviewed(Program, "what runs its containers", "runtimeClassName"),
			reviewed(Network, "under which name it is known, also to itself", "hostname", "subdomain", "setHostnameAsFQDN", "hostnameOverride"),
			anyStep(reviewed(Placement, "when it is scheduled, and which Pods make room for it; those of Kubernetes itself, system-*, "+
				"and the operator's own are refused", "priorityClassName")),
			harmless("the API server writes it, for its priorityClassName", "priority"),
			unless(among(rest("when it is scheduled, and before whom", "preemptionPolicy"), "PreemptLowerPriority", "Never"), "PreemptLowerPriority"),
			rest("whether it counts as ready", "readinessGates"),
			rest("what its RuntimeClass takes of a node beside it", "overhead"),
			anyStep(reviewed(Placement, "see its own fields", "resources")),
			rest("whether it has a user namespace of its own", "hostUsers"),
			anyStep(reviewed(Placement, "see its own fields", "os")),
			refused("a granted Pod never changes, so nobody could open the gate", "schedulingGates"),
			refused("Pods would be scheduled as a group", "schedulingGroup"),
			refused("its eviction would wait for somebody", "evictionResponders"),
			input("a claim can be another one, or have other parameters, when the Pod is made", "resourceClaims"),
		),
		of("PodOS", only("name", "its files and its deadline were tried on Linux alone", "linux")),
		of("HostAlias", reviewed(Network, "whom names stand for", "ip", "hostnames")),
		of("PodDNSConfig", reviewed(Network, "whom names stand for", "nameservers", "searches", "options")),
		of("PodDNSConfigOption", reviewed(Network, "whom names stand for", "name", "value")),
		of("PodReadinessGate", rest("whether it counts as ready", "conditionType")),
		of("PodResourceClaim", input("a claim can be another one, or have other parameters, when the Pod is made",
			"name", "resourceClaimName", "resourceClaimTemplateName")),
		of("LocalObjectReference", anyStep(reviewed(Identity, "which object is named", "name"))),
	)
}

// placementFields say on which node a Pod may run. No decision depends on it: every node holds what Pods it has.
func placementFields() []Field {
	const why = "where it runs"
	placed := func(names ...string) []Field { return anyStep(reviewed(Placement, why, names...)) }
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	return slices.Concat(
		of("Affinity", placed("nodeAffinity", "podAffinity", "podAntiAffinity")),
		of("NodeAffinity", placed(required, preferred)),
		of("NodeSelector", placed("nodeSelectorTerms")),
		of("NodeSelectorTerm", placed("matchExpressions", "matchFields")),
		of("NodeSelectorRequirement", placed("key", "values"),
			among(placed("operator"), "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")),
		of("PreferredSchedulingTerm", placed("weight", "preference")),
		of("PodAffinity", placed(required, preferred)),
		of("PodAntiAffinity", placed(required, preferred)),
		of("PodAffinityTerm", placed("labelSelector", "topologyKey", "matchLabelKeys", "mismatchLabelKeys"),
			refused("while it runs, it could keep Pods of other namespaces from every node", "namespaces", "namespaceSelector")),
		of("WeightedPodAffinityTerm", placed("weight", "podAffinityTerm")),
		of("LabelSelector", placed("matchLabels", "matchExpressions")),
		of("LabelSelectorRequirement", placed("key", "values"), among(placed("operator"), "In", "NotIn", "Exists", "DoesNotExist")),
		of("Toleration", placed("key", "value", "tolerationSeconds"),
			among(placed("operator"), "Exists", "Equal", "Gt", "Lt"), among(placed("effect"), "NoSchedule", "PreferNoSchedule", "NoExecute")),
		of("TopologySpreadConstraint", placed("maxSkew", "topologyKey", "labelSelector", "minDomains", "matchLabelKeys"),
			among(placed("whenUnsatisfiable"), "DoNotSchedule", "ScheduleAnyway"),
			among(placed("nodeAffinityPolicy", "nodeTaintsPolicy"), "Honor", "Ignore")),
	)
}
