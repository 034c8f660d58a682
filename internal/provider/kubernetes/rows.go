// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

// Where the rows come from. Each group of rows names its sources by these words:
//
//   - policy.go: the roles that Kubernetes 1.37 itself makes,
//     plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go. Its role view is, in its own words, read-only access
//     to non-escalating resources.
//   - good practices: https://kubernetes.io/docs/concepts/security/rbac-good-practices/, "privilege escalation risks".
//   - rbac-police: https://github.com/PaloAltoNetworks/rbac-police, the policies in lib.
//   - KubiScan: https://github.com/cyberark/KubiScan, risky_roles.yaml.
//   - kubesplaining: https://github.com/0hardik1/kubesplaining, docs/privesc-research.md, by its section.
//   - discovery: what the API server of 1.37 serves, as a test compares it.

// everybodysRows are what every cluster gives every ServiceAccount. Source: policy.go, system:basic-user,
// system:discovery, system:public-info-viewer, system:service-account-issuer-discovery and
// system:cluster-trust-bundle-discovery.
func everybodysRows() []row {
	return []row{
		{"selfsubjectaccessreviews.authorization.k8s.io selfsubjectrulesreviews.authorization.k8s.io " +
			"selfsubjectreviews.authentication.k8s.io",
			"create", shared, "it asks who one is and what one may do oneself"},
		{"clustertrustbundles.certificates.k8s.io", reads, shared, "the certificates of authorities are public"},
		{"/api /api/* /apis /apis/* /openapi /openapi/* /version /version/ /healthz /livez /readyz",
			"get head", shared, "it says what the API is, and whether its server is well"},
		{"/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
			"get head", shared, "the keys that tokens are checked by are public"},
	}
}

// verbRows are verbs that mean the same on every kind. Sources: good practices, "escalate verb", "bind verb",
// "impersonate verb" and "CSRs and certificate issuing"; for the modes of constrained impersonation
// https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/ and
// k8s.io/apiserver/pkg/endpoints/filters/impersonation; for devices k8s.io/api/resource/v1, VerbPrefixAssociatedNode;
// for audiences plugin/pkg/admission/noderestriction; for use kubesplaining M.
func verbRows() []row {
	return []row{
		{anyKind, "impersonate impersonate:* impersonate-on:*", escalates,
			"whoever may impersonate acts with the rights of somebody else"},
		{anyKind, "escalate", escalates, "whoever may escalate writes rights into a role that they do not have"},
		{anyKind, "bind", escalates, "whoever may bind gives themselves the rights of a role"},
		{anyKind, "approve sign attest", escalates,
			"whoever signs or approves decides who somebody else is believed to be, or what they get"},
		{anyKind, "use", escalates, "whoever may use a security policy runs Pods that it lets through"},
		{anyKind, "associated-node:* arbitrary-node:*", escalates,
			"whoever reports devices as a driver decides what Pods are given on a node"},
		{anyKind, "request-serviceaccounts-token-audience", escalates,
			"it has nodes get tokens of ServiceAccounts for other audiences"},
	}
}

// secretRows: good practices, "listing secrets" and "token request"; rbac-police list_secrets, issue_token_secrets,
// token_request; KubiScan risky-list-secrets. A deletion, dry run or not, answers with the objects that it is about.
func secretRows() []row {
	return []row{
		{"secrets", reads, escalates, "Secrets hold credentials, those of grants among them"},
		{"secrets", removes, escalates,
			"a deletion answers with the Secret, so it reads credentials, and a deleted anchor ends somebody's token"},
		{"secrets", shapes, escalates, "a Secret can ask for a lasting token of any ServiceAccount of the namespace"},
		{"serviceaccounts/token", every, escalates, "it makes tokens of every ServiceAccount of the namespace"},
	}
}

// podRows: good practices, "workload creation"; rbac-police modify_pods, modify_pod_status, pods_exec,
// pods_ephemeral_ctrs, steal_pods; KubiScan risky-create-pod; kubesplaining B-030, L N12, M. Until 1.35 get was
// enough for exec; for a kubelet it still is.
func podRows() []row {
	return []row{
		{"pods", "create", escalates,
			"whoever may create Pods can run as every ServiceAccount of the namespace and read its Secrets"},
		{"pods", "update patch", escalates,
			"another image in a running Pod is another program with that Pod's rights and Secrets"},
		{"pods/exec pods/attach pods/ephemeralcontainers", every, escalates,
			"it runs commands in Pods, with their rights and Secrets"},
		{"pods/portforward pods/proxy services/proxy", every, escalates,
			"it reaches what listens in Pods, past every network policy"},
		{"pods/binding", every, escalates, "it places Pods on a node of one's choice"},
		{"bindings", writes, escalates, "it places Pods on a node of one's choice"},
		{"pods/status", "update patch", escalates,
			"a Pod that says that it is ready, and where, gets what was meant for others"},
		{"pods", removes, disrupts, "it ends Pods; a webhook that enforces rules may be among them"},
		{"pods/eviction", "create", disrupts, "it ends Pods; a webhook that enforces rules may be among them"},
		{"evictionrequests.lifecycle.k8s.io evictionrequests/status.lifecycle.k8s.io evictions.lifecycle.k8s.io " +
			"evictions/status.lifecycle.k8s.io",
			writes, disrupts, "it ends Pods, or keeps others from ending them"},
		{"pods/resize", "update patch", disrupts, "it says how much of its node a Pod may use"},
	}
}

// workloadRows: good practices, "workload creation"; rbac-police assign_sa; KubiScan risky-create-deployments and its
// siblings; kubesplaining B-032, L N6. For what leads a controller to an older Pod template the controllers of 1.37 in
// pkg/controller, and for what a write of a status may change the strategies in pkg/registry: of these kinds a status
// takes annotations and owners with it, and mostly labels. A Deployment that is paused scales the newest ReplicaSet
// that it still finds by its labels and owner, a StatefulSet goes by the revision that its status names, and an
// autoscaler starts again what its status says that it has scaled to zero. Of the rest no such way is known in
// Kubernetes itself, but other controllers go by annotations: each status is judged as its kind is.
func workloadRows() []row {
	const (
		current = "deployments.apps daemonsets.apps statefulsets.apps jobs.batch cronjobs.batch podtemplates " +
			"deployments.extensions daemonsets.extensions"
		// A ReplicaSet without Pods holds an older Pod template of its Deployment, and so does a ReplicationController of
		// OpenShift's DeploymentConfig.
		older = "replicasets.apps replicationcontrollers replicasets.extensions"
		// A StatefulSet with a partition runs its older template when it is scaled, and a Deployment that is paused between
		// two runs both.
		scales = "deployments/scale.apps statefulsets/scale.apps deployments/scale.extensions replicasets/scale.apps " +
			"replicationcontrollers/scale replicasets/scale.extensions replicationcontrollers/scale.extensions"
		statuses = "deployments/status.apps daemonsets/status.apps statefulsets/status.apps replicasets/status.apps " +
			"jobs/status.batch cronjobs/status.batch replicationcontrollers/status " +
			"horizontalpodautoscalers/status.autoscaling deployments/status.extensions daemonsets/status.extensions " +
			"replicasets/status.extensions"
		revisions = "controllerrevisions.apps deployments/rollback.apps deployments/rollback.extensions"
		groups    = "workloads.scheduling.k8s.io workloads/status.scheduling.k8s.io podgroups.scheduling.k8s.io " +
			"podgroups/status.scheduling.k8s.io compositepodgroups.scheduling.k8s.io " +
			"compositepodgroups/status.scheduling.k8s.io"
		runsOlder = "it can have a controller run an older Pod template, with what that one could do"
	)
	return []row{
		{current + " " + older, shapes, escalates,
			"its Pod template runs as every ServiceAccount of the namespace and reads its Secrets"},
		{older, removes, escalates, runsOlder},
		{revisions + " " + scales, writes, escalates, runsOlder},
		{statuses, writes, escalates,
			"controllers go by it, and by the labels, annotations and owners that it takes along: " + runsOlder},
		{current, removes, disrupts, "it ends what runs; a webhook that enforces rules may be among it"},
		{"horizontalpodautoscalers.autoscaling", shapes, escalates,
			"it scales what it names, an older Pod template among it, with the autoscaler's rights"},
		{"horizontalpodautoscalers.autoscaling", removes, disrupts, "it leaves the number of Pods as it is"},
		{groups, writes, disrupts, "it says which Pods are started together, and so which have to wait"},
	}
}

// configurationRows are what programs and rules of a namespace go by. Sources: rbac-police eks_modify_aws_auth;
// kubesplaining B-023 for leases, D4 for ConfigMaps that admission policies read, J for annotations of ServiceAccounts.
func configurationRows() []row {
	return []row{
		{"configmaps", writes, escalates,
			"Pods, controllers and admission policies do what a ConfigMap says, or go without it"},
		{"serviceaccounts", shapes, escalates,
			"annotations give a ServiceAccount roles of a cloud, and a binding may name one that is not there yet"},
		{"serviceaccounts", removes, disrupts, "it ends every token of the ServiceAccount"},
		{"leases.coordination.k8s.io leasecandidates.coordination.k8s.io", writes, disrupts,
			"it stops the controller that a lease is for, or has two lead at once"},
		{"events events.events.k8s.io", writes, disrupts, "it tells people and tools what did not happen, or hides what did"},
		{"resourcequotas resourcequotas/status limitranges", writes, disrupts, "it says how much the namespace may use"},
		{"poddisruptionbudgets.policy poddisruptionbudgets/status.policy", writes, disrupts,
			"it says which Pods may not be evicted, or lets all be"},
	}
}

// networkRows: rbac-police modify_service_status_cve_2020_8554; kubesplaining A4, B-021, B-022 and E. Also
// CVE-2021-25740, and https://kubernetes.io/docs/concepts/security/rbac-good-practices/, "namespace modification", for
// network policies.
func networkRows() []row {
	return []row{
		{"services services/status", shapes, escalates,
			"a Service can take traffic that is meant for others, and their credentials with it"},
		{"endpoints endpointslices.discovery.k8s.io", writes, escalates,
			"it sends the traffic of a Service elsewhere, credentials included"},
		{"ingresses.networking.k8s.io ingresses/status.networking.k8s.io ingresses.extensions ingresses/status.extensions",
			shapes, escalates,
			"the ingress controller acts on it with rights of its own, reads Secrets among them, and sends traffic where it " +
				"says"},
		{"networkpolicies.networking.k8s.io networkpolicies.extensions", writes, escalates,
			"it opens what network policies close"},
		{"services services/status", removes, disrupts, "it ends a Service, and so what others reach by it"},
		{"ingresses.networking.k8s.io ingresses.extensions", removes, disrupts, "it ends what is reached by it"},
	}
}

// viewRows are what Kubernetes' own role view reads, and kinds of the same sort that it leaves out. Source: policy.go,
// viewRules; for leases editRules; discovery for the rest.
func viewRows() []row {
	const (
		core = "pods pods/status pods/resize replicationcontrollers replicationcontrollers/status " +
			"replicationcontrollers/scale services services/status endpoints persistentvolumeclaims " +
			"persistentvolumeclaims/status configmaps serviceaccounts limitranges resourcequotas resourcequotas/status " +
			"bindings namespaces namespaces/status events podtemplates"
		apps = "controllerrevisions.apps deployments.apps deployments/status.apps deployments/scale.apps " +
			"daemonsets.apps daemonsets/status.apps statefulsets.apps statefulsets/status.apps statefulsets/scale.apps " +
			"replicasets.apps replicasets/status.apps replicasets/scale.apps"
		extensions = "deployments.extensions deployments/status.extensions deployments/scale.extensions " +
			"daemonsets.extensions daemonsets/status.extensions replicasets.extensions replicasets/status.extensions " +
			"replicasets/scale.extensions replicationcontrollers/scale.extensions ingresses.extensions " +
			"ingresses/status.extensions networkpolicies.extensions"
		more = "events.events.k8s.io endpointslices.discovery.k8s.io horizontalpodautoscalers.autoscaling " +
			"horizontalpodautoscalers/status.autoscaling jobs.batch jobs/status.batch cronjobs.batch cronjobs/status.batch " +
			"poddisruptionbudgets.policy poddisruptionbudgets/status.policy networkpolicies.networking.k8s.io " +
			"ingresses.networking.k8s.io ingresses/status.networking.k8s.io resourceclaims.resource.k8s.io " +
			"resourceclaims/status.resource.k8s.io resourceclaimtemplates.resource.k8s.io workloads.scheduling.k8s.io " +
			"workloads/status.scheduling.k8s.io podgroups.scheduling.k8s.io podgroups/status.scheduling.k8s.io " +
			"compositepodgroups.scheduling.k8s.io compositepodgroups/status.scheduling.k8s.io " +
			"evictionrequests.lifecycle.k8s.io evictionrequests/status.lifecycle.k8s.io evictions.lifecycle.k8s.io " +
			"evictions/status.lifecycle.k8s.io leases.coordination.k8s.io leasecandidates.coordination.k8s.io"
	)
	return []row{
		{core, reads, harmless, "as in Kubernetes' own role view: it shows objects that hold no credentials"},
		{"pods/log", reads, harmless, "as in Kubernetes' own role view: it shows what containers print"},
		{apps, reads, harmless, "as in Kubernetes' own role view: it shows objects that hold no credentials"},
		{extensions, reads, harmless, "as in Kubernetes' own role view: older names of kinds above"},
		{more, reads, harmless, "as in Kubernetes' own role view: it shows objects that hold no credentials"},
		{"pods.metrics.k8s.io nodes.metrics.k8s.io", reads, harmless, "it shows how much Pods and nodes use"},
	}
}
