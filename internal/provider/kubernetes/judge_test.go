// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"errors"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// allAcceptances but those that are named.
func allAcceptances(but ...v1alpha1.KubernetesAcceptance) []v1alpha1.KubernetesAcceptance {
	all := []v1alpha1.KubernetesAcceptance{v1alpha1.AcceptWildcards, v1alpha1.AcceptEscalation, v1alpha1.AcceptUnknown,
		v1alpha1.AcceptDisruption, v1alpha1.AcceptClusterWide, v1alpha1.AcceptOpenConnections}
	return slices.DeleteFunc(all, func(a v1alpha1.KubernetesAcceptance) bool { return slices.Contains(but, a) })
}

// expectNeeds sees that what is bound needs these acceptances, each of them and no other, and that the refusal says
// these words.
func expectNeeds(t *testing.T, needs, words string, objects ...client.Object) {
	t.Helper()
	k := provides(reader(objects...))
	var wanted []v1alpha1.KubernetesAcceptance
	for _, name := range strings.Fields(needs) {
		wanted = append(wanted, v1alpha1.KubernetesAcceptance(name))
	}
	if _, err := k.Render(t.Context(), capability(wanted...), values()); err != nil {
		t.Errorf("what it is was accepted, and is refused: %v", err)
	}
	for _, one := range wanted {
		_, err := k.Render(t.Context(), capability(allAcceptances(one)...), values())
		expectInvalid(t, err, "or accept "+string(one))
	}
	if len(wanted) > 0 {
		_, err := k.Render(t.Context(), capability(), values())
		expectInvalid(t, err, words)
	}
}

func expectInvalid(t *testing.T, err error, words string) {
	t.Helper()
	problem := (*provider.NotReadyError)(nil)
	if !errors.As(err, &problem) || problem.Reason != v1alpha1.ReasonScopeInvalid ||
		!strings.Contains(problem.Message, words) {
		t.Errorf("got %v, want a scope that is invalid: %s", err, words)
	}
}

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
	certificates   = "certificates.k8s.io"
	authentication = "authentication.k8s.io"
)

func TestRights_OnlyWhatIsKnownToBeHarmlessIsReady(t *testing.T) {
	url := func(verb string, urls ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: urls}
	}
	for _, test := range []struct {
		name  string
		rule  rbacv1.PolicyRule
		needs string
		words string
	}{
		{"reading ConfigMaps", rule("get,list", "", "configmaps"), "", ""},
		{"reading Pods, events and services", rule("get,list", "", "pods,events,services,endpoints"), "", ""},
		{"reading workloads and their scale", rule("get", "apps", "deployments,deployments/scale,statefulsets/status"), "",
			""},
		{"reading requests and grants", rule("list", "valetkey.dev", "capabilityrequests,capabilitygrants"), "", ""},
		{"asking what one may do", rule("create", "authorization.k8s.io", "selfsubjectaccessreviews"), "", ""},

		{"watching what is harmless to read", rule("get,list,watch", "", "configmaps"), "OpenConnections",
			"watch configmaps in web (RoleBinding rrestarter): whoever has a watch open, with a copy of the token too, goes " +
				"on reading after the grant's end, as long as they like; narrow it, or accept OpenConnections"},
		{"watching one object", rule("watch", "", "configmaps", "one"), "OpenConnections", "watch configmaps one in web"},
		{"watching what every cluster lets everybody watch", rule("get,watch,patch", certificates, "clustertrustbundles"),
			"Escalation", "patch clustertrustbundles"},
		{"following a log", rule("get", "", "pods/log"), "OpenConnections", "whoever follows a log"},
		{"listing logs, which is nothing", rule("list", "", "pods/log"), "", ""},
		{"watching requests and grants", rule("watch", "valetkey.dev", "capabilityrequests"), "OpenConnections",
			"goes on reading"},
		{"watching a kind of a CRD", rule("watch", "cert-manager.io", "certificates"), "Unknown OpenConnections",
			"goes on reading"},
		{"an older way of a proxy", rule("proxy", "", "services"), "Unknown OpenConnections", "keeps it after the grant's end"},
		{"watching any resource of a group", rule("watch", "apps", "*"), "Wildcards OpenConnections",
			"it takes in watch *.apps, and whoever has a watch open"},
		{"watching anything", rule("watch", "*", "*"), "Wildcards Escalation OpenConnections",
			"it takes in watch *.*, and whoever has a watch open"},
		{"reading any subresource of anything", rule("get", "*", "*/log"), "Wildcards Escalation OpenConnections",
			"it takes in get pods/log, and whoever follows a log"},

		{"impersonating", rule("impersonate", "", "users"), "Escalation",
			"impersonate users in web (RoleBinding rrestarter): whoever may impersonate acts with the rights of somebody " +
				"else; narrow it, or accept Escalation"},
		{"impersonating a user, constrained", rule("impersonate:user-info", authentication, "users"), "Escalation",
			"may impersonate acts with"},
		{"impersonating a group, constrained", rule("impersonate:user-info", authentication, "groups", "release-managers"),
			"Escalation", "may impersonate acts with"},
		{"impersonating a ServiceAccount, constrained", rule("impersonate:serviceaccount", authentication, "serviceaccounts"),
			"Escalation", "may impersonate acts with"},
		{"impersonating a node, constrained",
			rule("impersonate:arbitrary-node,impersonate:associated-node", authentication,
				"nodes"), "Escalation", "may impersonate acts with"},
		{"impersonating in a mode that is yet to come", rule("impersonate:pod", authentication, "pods"), "Escalation",
			"may impersonate acts with"},
		{"what is done in another's name, constrained", rule("impersonate-on:user-info:list", "", "configmaps"), "Escalation",
			"may impersonate acts with"},
		{"extra fields of another", rule("impersonate", authentication, "userextras/scopes"), "Escalation",
			"may impersonate acts with"},
		{"binding", rule("bind", rbacGroup, "clusterroles"), "Escalation", "gives themselves the rights of a role"},
		{"escalating", rule("escalate", rbacGroup, "roles"), "Escalation", "writes rights into a role"},
		{"writing roles", rule("patch", rbacGroup, "roles"), "Escalation", "it gives rights"},
		{"reading bindings", rule("list", rbacGroup, "rolebindings"), "Escalation", "whom to take over"},
		{"signing certificates", rule("sign", certificates, "signers", "kubernetes.io/kube-apiserver-client"), "Escalation",
			"signs or approves"},
		{"attesting", rule("attest", certificates, "signers"), "Escalation", "signs or approves"},
		{"approving certificates", rule("update", certificates, "certificatesigningrequests/approval"), "Escalation",
			"by which somebody is believed"},
		{"asking for certificates", rule("create", certificates, "certificatesigningrequests"), "Escalation",
			"by which somebody is believed"},
		{"saying whom to trust", rule("update", certificates, "clustertrustbundles"), "Escalation", "whom Pods believe"},
		{"making tokens", rule("create", "", "serviceaccounts/token", "one"), "Escalation", "makes tokens"},
		{"looking at found tokens", rule("create", authentication, "tokenreviews"), "Escalation", "whether a token"},
		{"asking what others may do", rule("create", "authorization.k8s.io", "localsubjectaccessreviews"), "Escalation",
			"whom to take over"},

		{"reading Secrets", rule("get", "", "secrets"), "Escalation",
			"get secrets in web (RoleBinding rrestarter): Secrets hold credentials"},
		{"reading one Secret", rule("get", "", "secrets", "mine"), "Escalation", "get secrets mine in web"},
		{"watching Secrets", rule("watch", "", "secrets"), "Escalation OpenConnections", "Secrets hold credentials"},
		{"deleting Secrets, which reads them", rule("deletecollection", "", "secrets"), "Escalation",
			"answers with the Secret"},
		{"writing Secrets", rule("create", "", "secrets"), "Escalation", "a lasting token of any ServiceAccount"},

		{"creating Pods", rule("get,create", "", "pods"), "Escalation",
			"create pods in web (RoleBinding rrestarter): whoever may create Pods can run as every ServiceAccount of the " +
				"namespace and read its Secrets"},
		{"changing Pods", rule("patch", "", "pods"), "Escalation", "another image in a running Pod"},
		{"exec", rule("create", "", "pods/exec"), "Escalation OpenConnections", "runs commands in Pods"},
		{"exec by get", rule("get", "", "pods/exec"), "Escalation OpenConnections", "runs commands in Pods"},
		{"attach", rule("get", "", "pods/attach"), "Escalation OpenConnections", "runs commands in Pods"},
		{"debug containers", rule("patch", "", "pods/ephemeralcontainers"), "Escalation", "runs commands in Pods"},
		{"port-forward", rule("create", "", "pods/portforward"), "Escalation OpenConnections", "past every network policy"},
		{"the proxy to Pods", rule("get", "", "pods/proxy"), "Escalation OpenConnections", "past every network policy"},
		{"the proxy to Services", rule("get", "", "services/proxy"), "Escalation OpenConnections", "past every network policy"},
		{"the proxy to kubelets", rule("get", "", "nodes/proxy"), "Escalation OpenConnections", "get is enough"},
		{"checkpoints of containers", rule("create", "", "nodes/checkpoint"), "Escalation OpenConnections", "the memory of its containers"},
		{"figures of nodes, which a kubelet shows", rule("get", "", "nodes/metrics"), "OpenConnections", "believes its answer for two minutes"},
		{"logs of nodes", rule("get", "", "nodes/log"), "Escalation OpenConnections", "files of the node"},
		{"placing Pods", rule("create", "", "pods/binding,bindings"), "Escalation", "on a node of one's choice"},
		{"pretending that a Pod is ready", rule("patch", "", "pods/status"), "Escalation", "what was meant for others"},
		{"creating Jobs", rule("create", "batch", "jobs"), "Escalation", "its Pod template runs as"},
		{"creating CronJobs", rule("create", "batch", "cronjobs"), "Escalation", "its Pod template runs as"},
		{"patching one Deployment", rule("patch", "apps", "deployments", "web"), "Escalation",
			"patch deployments.apps web in web (RoleBinding rrestarter): its Pod template"},
		{"going back to an older template", rule("create", "apps", "deployments/rollback"), "Escalation",
			"an older Pod template"},
		{"writing revisions", rule("update", "apps", "controllerrevisions"), "Escalation", "an older Pod template"},
		{"deleting revisions", rule("delete", "apps", "controllerrevisions"), "Escalation", "an older Pod template"},
		{"deleting the ReplicaSet of the newest template", rule("delete", "apps", "replicasets"), "Escalation",
			"delete replicasets.apps in web (RoleBinding rrestarter): it can have a controller run an older Pod template"},
		{"deleting all ReplicaSets", rule("deletecollection", "apps", "replicasets"), "Escalation", "an older Pod template"},
		{"deleting ReplicaSets by their older name", rule("delete", "extensions", "replicasets"), "Escalation",
			"an older Pod template"},
		{"deleting what OpenShift goes back to", rule("delete", "", "replicationcontrollers"), "Escalation",
			"an older Pod template"},
		{"taking a ReplicaSet from its Deployment", rule("patch", "apps", "replicasets/status"), "Escalation",
			"an older Pod template"},
		{"the annotations of a Deployment", rule("patch", "apps", "deployments/status"), "Escalation",
			"an older Pod template"},
		{"the annotations of a DaemonSet", rule("update", "apps", "daemonsets/status"), "Escalation",
			"an older Pod template"},
		{"what of a Job has run", rule("patch", "batch", "jobs/status"), "Escalation", "an older Pod template"},
		{"when a CronJob last ran", rule("patch", "batch", "cronjobs/status"), "Escalation",
			"an older Pod template"},
		{"taking a ReplicationController from its owner", rule("patch", "", "replicationcontrollers/status"), "Escalation",
			"an older Pod template"},
		{"starting again what was scaled to zero", rule("patch", "autoscaling", "horizontalpodautoscalers/status"),
			"Escalation", "an older Pod template"},

		{"writing ConfigMaps", rule("update", "", "configmaps", "settings"), "Escalation", "do what a ConfigMap says"},
		{"deleting ConfigMaps", rule("delete", "", "configmaps"), "Escalation", "or go without it"},
		{"changing ServiceAccounts", rule("patch", "", "serviceaccounts"), "Escalation", "roles of a cloud"},
		{"writing Services", rule("create", "", "services"), "Escalation", "take traffic"},
		{"writing the status of Services", rule("patch", "", "services/status"), "Escalation", "take traffic"},
		{"writing Endpoints", rule("update", "", "endpoints"), "Escalation", "sends the traffic"},
		{"writing EndpointSlices", rule("update", "discovery.k8s.io", "endpointslices"), "Escalation", "sends the traffic"},
		{"writing Ingresses", rule("create", "networking.k8s.io", "ingresses"), "Escalation", "the ingress controller"},
		{"removing network policies", rule("delete", "networking.k8s.io", "networkpolicies"), "Escalation",
			"opens what network policies close"},
		{"claiming volumes", rule("create", "", "persistentvolumeclaims"), "Escalation", "the data of others"},
		{"claiming devices", rule("update", "resource.k8s.io", "resourceclaims"), "Escalation", "which devices"},
		{"binding devices", rule("update", "resource.k8s.io", "resourceclaims/binding"), "Escalation", "which devices"},
		{"reporting devices", rule("arbitrary-node:update", "resource.k8s.io", "resourceclaims/driver"), "Escalation",
			"as a driver"},
		{"changing the labels of its namespace", rule("patch", "", "namespaces"), "Escalation", "whether it is enrolled"},
		{"writing webhooks", rule("update", admissionGroup, "mutatingwebhookconfigurations"), "Escalation",
			"what the API server refuses"},
		{"deleting admission bindings", rule("delete", admissionGroup, "validatingadmissionpolicybindings"), "Escalation",
			"Valetkey's own rules included"},
		{"changing admission policies", rule("patch", admissionGroup, "mutatingadmissionpolicies"), "Escalation",
			"Valetkey's own rules included"},
		{"answering for the API server", rule("create", "apiregistration.k8s.io", "apiservices"), "Escalation",
			"answers for the API server"},
		{"changing kinds", rule("patch", "apiextensions.k8s.io", "customresourcedefinitions"), "Escalation",
			"conversion webhook"},
		{"making volumes", rule("create", "", "persistentvolumes"), "Escalation", "any folder of a node"},
		{"storage drivers", rule("create", "storage.k8s.io", "csidrivers"), "Escalation", "the rights of the node"},
		{"labelling nodes", rule("patch", "", "nodes"), "Escalation", "which Pods come to it"},
		{"using a security policy", rule("use", "security.openshift.io", "securitycontextconstraints"), "Escalation",
			"security policy"},
		{"asking for credentials", rule("create", "valetkey.dev", "capabilityrequests"), "Escalation",
			"asks for other credentials"},
		{"approving requests", rule("approve", "valetkey.dev", "capabilityrequests"), "Escalation", "signs or approves"},
		{"giving up on a revocation", rule("abandon", "valetkey.dev", "capabilitygrants"), "Escalation",
			"gives up on a revocation"},
		{"writing policies", rule("update", "valetkey.dev", "capabilitypolicies"), "Escalation", "who gets them"},
		{"the status of grants", rule("update", "valetkey.dev", "capabilitygrants/status"), "Escalation",
			"what the operator found out"},

		{"deleting Pods", rule("delete,deletecollection", "", "pods"), "Disruption",
			"delete,deletecollection pods in web (RoleBinding rrestarter): it ends Pods"},
		{"evicting", rule("create", "", "pods/eviction"), "Disruption", "it ends Pods"},
		{"scaling an older Pod template", rule("update,patch", "apps", "replicasets/scale"), "Escalation",
			"update,patch replicasets/scale.apps"},
		{"scaling an older Pod template by its older name", rule("patch", "extensions", "replicasets/scale"), "Escalation",
			"run an older Pod template"},
		{"scaling an older Pod template of OpenShift's", rule("patch", "", "replicationcontrollers/scale"), "Escalation",
			"run an older Pod template"},
		{"having an older Pod template scaled", rule("create", "autoscaling", "horizontalpodautoscalers"), "Escalation",
			"it scales what it names"},
		{"having nothing scaled any more", rule("delete", "autoscaling", "horizontalpodautoscalers"), "Disruption",
			"it leaves the number of Pods as it is"},
		{"an older revision by a status", rule("patch", "apps", "statefulsets/status"), "Escalation",
			"run an older Pod template"},
		{"scaling", rule("get,update,patch", "apps", "deployments/scale", "web"), "Escalation",
			"update,patch deployments/scale.apps web in web"},
		{"scaling a StatefulSet, which may have a partition", rule("patch", "apps", "statefulsets/scale"), "Escalation",
			"run an older Pod template"},
		{"deleting Jobs", rule("delete", "batch", "jobs"), "Disruption", "it ends what runs"},
		{"taking leases", rule("update", "coordination.k8s.io", "leases"), "Disruption",
			"the controller that a lease is for"},
		{"writing events", rule("create", "events.k8s.io", "events"), "Disruption", "what did not happen"},
		{"lifting quotas", rule("delete", "", "resourcequotas"), "Disruption", "how much the namespace may use"},
		{"deleting claims", rule("delete", "", "persistentvolumeclaims"), "Disruption", "it ends stored data"},
		{"priorities", rule("create", "scheduling.k8s.io", "priorityclasses"), "Disruption", "make room"},
		{"deleting a ServiceAccount", rule("delete", "", "serviceaccounts"), "Disruption", "it ends every token"},
		{"revoking grants", rule("revoke", "valetkey.dev", "capabilitygrants"), "Disruption", "it ends grants"},
		{"deleting and creating Pods", rule("create,delete", "", "pods"), "Escalation Disruption",
			"; delete pods in web (RoleBinding rrestarter): it ends Pods"},

		{"a kind of a CRD", rule("get", "cert-manager.io", "certificates"), "Unknown",
			`get certificates.cert-manager.io in web (RoleBinding rrestarter): "certificates.cert-manager.io" is not known ` +
				`to Valetkey, so nobody has said what it leads to; narrow it, or accept Unknown`},
		{"a kind of another group", rule("get", "batch", "pods"), "Unknown", `"pods.batch" is not known`},
		{"a kind in another spelling", rule("get", "", "Pods"), "Unknown", `"Pods" is not known`},
		{"a subresource that is not known", rule("get", "", "pods/camera"), "Unknown", `"pods/camera" is not known`},
		{"a subresource of one of these", rule("get", "", "pods/log/previous"), "Unknown",
			`"pods/log/previous" is not known`},
		{"a verb that is not known", rule("frobnicate", "", "configmaps"), "Unknown",
			`"frobnicate" is no verb that Valetkey knows for it`},
		{"a verb in another spelling", rule("GET", "", "configmaps"), "Unknown", `"GET" is no verb`},
		{"a verb that begins as one that is known", rule("listen", "", "configmaps"), "Unknown", `"listen" is no verb`},
		{"a verb that is not there for a kind", rule("list", "authorization.k8s.io", "selfsubjectaccessreviews"), "Unknown",
			`"list" is no verb`},
		{"an empty verb", rule("", "", "configmaps"), "Unknown", `"" is no verb`},
		{"a path that is not known", url("get", "/version/secrets"), "Unknown", `"/version/secrets" is not known`},
		{"writing to a path that everybody reads", url("post", "/api"), "Unknown", `"post" is no verb`},
		{"the memory of the API server", url("get", "/debug/pprof/heap"), "Unknown", "is not known"},
		{"the files of the API server", url("get", "/logs/"), "Unknown", "is not known"},

		{"any verb", rule("*", "", "configmaps"), "Wildcards Escalation OpenConnections",
			"* configmaps in web (RoleBinding rrestarter): it takes in create configmaps, and Pods, controllers and " +
				"admission policies do"},
		{"any verb on what only can be read", rule("*", "metrics.k8s.io", "pods"), "Wildcards OpenConnections",
			"* takes in what does not exist yet"},
		{"any verb of a kind that is not known", rule("*", "cert-manager.io", "certificates"), "Wildcards Unknown OpenConnections",
			"is not known"},
		{"reading any resource", rule("get", "", "*"), "Wildcards Escalation OpenConnections",
			"it takes in get secrets, and Secrets hold credentials"},
		{"reading any resource of a group", rule("get,list", "apps", "*"), "Wildcards",
			"get,list *.apps in web (RoleBinding rrestarter): * takes in"},
		{"any resource of a group that is not known", rule("get", "cert-manager.io", "*"), "Wildcards Unknown",
			"is not known"},
		{"any group", rule("get", "*", "pods"), "Wildcards", "get pods.* in web"},
		{"any subresource", rule("get", "", "pods/*"), "Wildcards Escalation OpenConnections", "it takes in get pods/exec"},
		{"anything of a group that everybody may ask something of", rule("create", "authorization.k8s.io", "*"),
			"Wildcards Escalation", "it takes in create subjectaccessreviews.authorization.k8s.io"},
		{"any subresource, to delete it", rule("delete", "", "pods/*"), "Wildcards Escalation OpenConnections",
			"it takes in delete pods/exec"},
		{"a subresource of anything", rule("update", "*", "*/scale"), "Wildcards Escalation",
			"it takes in update deployments/scale.apps"},
		{"an unknown subresource of anything", rule("update", "*", "*/camera"), "Wildcards Unknown", "is not known"},
		{"an unknown verb on anything", rule("frobnicate", "*", "*"), "Wildcards Unknown", "is no verb"},
		{"impersonating anything", rule("impersonate", "*", "*"), "Wildcards Escalation", "may impersonate"},
		{"anything", rule("*", "*", "*"), "Wildcards Escalation Disruption OpenConnections", "it takes in"},
		{"any path", url("get", "*"), "Wildcards Escalation OpenConnections", "it takes in get /logs, and it reads files or the memory"},
		{"any path below one that is not known", url("get", "/secrets/*"), "Wildcards Unknown", "is not known"},
		{"any path that begins as one that everybody reads", url("get", "/api*"), "Wildcards", "* takes in"},
		{"any path of the memory of the API server", url("get", "/debug/*"), "Escalation OpenConnections", "the memory of the API server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Beside a harmless rule, which hides nothing.
			expectNeeds(t, test.needs, test.words,
				role("web", "r", rule("get", "", "pods"), test.rule), bind("web", "Role", "r", account))
		})
	}
}

func TestRights_TheyAreHarmlessInOrdinaryNamespacesOnly(t *testing.T) {
	look := clusterRole("look", rule("list", "", "pods"))
	for namespace, words := range map[string]string{
		"web": "", "agents": "", "default": "", "kubernetes": "",
		"kube-system": "list pods in kube-system (RoleBinding lookrestarter): Kubernetes itself works in kube-system; " +
			"narrow it, or accept ClusterWide",
		"kube-public":     "Kubernetes itself works in kube-public",
		"kube-flannel":    "Kubernetes itself works in kube-flannel",
		"valetkey-system": "Valetkey itself works in valetkey-system",
		"identities":      "Valetkey itself works in identities",
	} {
		t.Run(namespace, func(t *testing.T) {
			needs := "ClusterWide"
			if words == "" {
				needs = ""
			}
			expectNeeds(t, needs, words, look, bind(namespace, "ClusterRole", "look", account))
		})
	}
	t.Run("the whole cluster", func(t *testing.T) {
		expectNeeds(t, "ClusterWide",
			"list pods everywhere (ClusterRoleBinding lookrestarter): it holds in the whole cluster",
			look, bindEverywhere("look", account, nil))
	})
	t.Run("what leads to more, in the whole cluster", func(t *testing.T) {
		expectNeeds(t, "Escalation ClusterWide", "create pods everywhere", clusterRole("run", rule("create", "", "pods")),
			bindEverywhere("run", account, nil))
	})
	t.Run("what every ServiceAccount has", func(t *testing.T) {
		expectNeeds(t, "", "", append(everybody(), look, bind("web", "ClusterRole", "look", account))...)
	})
}

// TestRights_NoLabelHidesABinding: whoever may bind may also label.
func TestRights_NoLabelHidesABinding(t *testing.T) {
	own := []client.Object{role("web", "r", rule("get", "", "pods")), bind("web", "Role", "r", account)}
	widened := everybody()
	widened[0].(*rbacv1.ClusterRole).Rules = append(widened[0].(*rbacv1.ClusterRole).Rules, rule("list", "", "secrets"))
	labelled := bind("web", "ClusterRole", "run", account)
	labelled.Labels = defaults
	for name, test := range map[string]struct {
		needs, words string
		objects      []client.Object
	}{
		"cluster-admin behind the label of what the cluster made": {"Wildcards Escalation Disruption ClusterWide OpenConnections",
			"* *.* everywhere (ClusterRoleBinding cluster-adminrestarter)",
			[]client.Object{clusterRole("cluster-admin", rule("*", "*", "*")),
				bindEverywhere("cluster-admin", account, defaults)}},
		"cluster-admin for a group, behind the label": {"Wildcards Escalation Disruption ClusterWide OpenConnections", "* *.* everywhere",
			[]client.Object{clusterRole("cluster-admin", rule("*", "*", "*")),
				bindEverywhere("cluster-admin", group("system:serviceaccounts"), defaults)}},
		"a role that the cluster made, widened": {"Escalation ClusterWide",
			"list secrets everywhere (ClusterRoleBinding system:basic-usersystem-authenticated)", widened},
		"a RoleBinding behind the label": {"Escalation", "create pods in web",
			[]client.Object{clusterRole("run", rule("create", "", "pods")), labelled}},
		"a group of all that are known": {"Escalation ClusterWide", "create pods everywhere",
			[]client.Object{clusterRole("run", rule("create", "", "pods")),
				bindEverywhere("run", group("system:authenticated"), nil)}},
		"its name as a user's": {"Escalation ClusterWide", "create pods everywhere",
			[]client.Object{clusterRole("run", rule("create", "", "pods")),
				bindEverywhere("run", rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:identities:restarter"}, nil)}},
		"a role that others are aggregated into": {"Escalation", "create pods in web",
			[]client.Object{aggregated("view", rule("get", "", "pods"), rule("create", "", "pods")),
				bind("web", "ClusterRole", "view", account)}},
	} {
		t.Run(name, func(t *testing.T) { expectNeeds(t, test.needs, test.words, append(test.objects, own...)...) })
	}
}

func TestRights_OfNoRoleNothingIsIssued(t *testing.T) {
	for name, objects := range map[string][]client.Object{"none": nil, "those of everybody": everybody()} {
		t.Run(name, func(t *testing.T) {
			_, err := provides(reader(objects...)).Render(t.Context(), capability(allAcceptances()...), values())
			expectInvalid(t, err, "no role is bound to system:serviceaccount:identities:restarter")
		})
	}
}

// TestRights_WhatIsRefusedIsStillShown: what was approved before ends because its scope is another one now.
func TestRights_WhatIsRefusedIsStillShown(t *testing.T) {
	k := provides(reader(role("web", "r", rule("get", "", "pods"), rule("bind", rbacGroup, "roles")),
		bind("web", "Role", "r", account)))
	scope, err := k.Render(t.Context(), capability(), values())
	if err == nil ||
		!slices.Equal(scope.Lines, []string{"bind roles.rbac.authorization.k8s.io in web", "get pods in web"}) ||
		scope.Principal == "" {
		t.Errorf("got %+v, %v", scope, err)
	}
}
