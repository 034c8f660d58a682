// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

// describes is why reading most of the cluster's own kinds is harmless.
const describes = "it describes the cluster and holds no credentials"

// clusterRows: good practices, "namespace modification"; kubesplaining B-020, B-033, D5; discovery.
func clusterRows() []row {
	const (
		definitions = "customresourcedefinitions.apiextensions.k8s.io customresourcedefinitions/status.apiextensions.k8s.io"
		servers     = "apiservices.apiregistration.k8s.io apiservices/status.apiregistration.k8s.io"
		queues      = "flowschemas.flowcontrol.apiserver.k8s.io flowschemas/status.flowcontrol.apiserver.k8s.io " +
			"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io " +
			"prioritylevelconfigurations/status.flowcontrol.apiserver.k8s.io"
		storage = "storageversions.internal.apiserver.k8s.io storageversions/status.internal.apiserver.k8s.io " +
			"storageversionmigrations.storagemigration.k8s.io storageversionmigrations/status.storagemigration.k8s.io"
		addresses = "ingressclasses.networking.k8s.io ipaddresses.networking.k8s.io servicecidrs.networking.k8s.io " +
			"servicecidrs/status.networking.k8s.io"
	)
	return []row{
		{"namespaces namespaces/finalize namespaces/status", shapes, escalates,
			"labels of a namespace say what Pods may do in it, who reaches them, and whether it is enrolled"},
		{"namespaces", removes, disrupts, "it ends all that is in the namespace"},
		{definitions, reads, harmless, describes},
		{definitions, writes, escalates,
			"a conversion webhook sees and changes every object of a kind, and a deleted kind takes its objects with it"},
		{servers, reads, harmless, describes},
		{servers, writes, escalates,
			"another server answers for the API server, and sees what everybody asks of it"},
		{"priorityclasses.scheduling.k8s.io", reads, harmless, describes},
		{"priorityclasses.scheduling.k8s.io", writes, disrupts, "it says which Pods are ended to make room for others"},
		{queues, reads, harmless, describes},
		{queues, writes, disrupts, "it says whose requests the API server serves, and whose it lets wait"},
		{storage + " componentstatuses", reads, harmless, describes},
		{storage, writes, disrupts,
			"it has every object of a kind written anew, or keeps API servers from agreeing on one form"},
		{addresses, reads, harmless, describes},
		{addresses, writes, escalates, "it says by whom and to which addresses traffic is sent"},
	}
}

// nodeRows: good practices, "access to proxy subresource of Nodes";
// https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/ for what a kubelet asks for each of its
// paths; rbac-police nodes_proxy, modify_node_status, steal_pods; KubiScan risky-execute-command-node-proxy;
// kubesplaining B-029, L N14.
func nodeRows() []row {
	return []row{
		{"nodes/proxy", every, escalates, "whoever reaches a kubelet runs commands in every Pod of its node; get is enough"},
		{"nodes/log nodes/checkpoint nodes/configz nodes/spec", every, escalates,
			"it reads files of the node, or the memory of its containers"},
		{"nodes nodes/status", writes, escalates,
			"labels, taints and capacity of a node say which Pods come to it, with their Secrets"},
		{"nodes nodes/status nodes/metrics nodes/stats nodes/healthz nodes/statusz", reads, harmless, describes},
		{"nodes/pods", reads, harmless, "it shows the Pods of a node"},
		{"nodes/metrics nodes/stats nodes/healthz nodes/statusz nodes/pods", writes, escalates,
			"nothing is known that a kubelet would do for it"},
		{"runtimeclasses.node.k8s.io", reads, harmless, describes},
		{"runtimeclasses.node.k8s.io", writes, escalates, "it says by which program of the node Pods are run"},
	}
}

// identityRows: good practices, "escalate verb", "bind verb" and "CSRs and certificate issuing"; policy.go, whose view
// reads no roles; rbac-police approve_csrs, bind_roles, escalate_roles; kubesplaining A6, B-024, B-025, L N3.
func identityRows() []row {
	const (
		roles = "roles.rbac.authorization.k8s.io rolebindings.rbac.authorization.k8s.io " +
			"clusterroles.rbac.authorization.k8s.io clusterrolebindings.rbac.authorization.k8s.io"
		certificates = "certificatesigningrequests.certificates.k8s.io " +
			"certificatesigningrequests/status.certificates.k8s.io podcertificaterequests.certificates.k8s.io " +
			"podcertificaterequests/status.certificates.k8s.io"
	)
	return []row{
		{roles, writes, escalates, "it gives rights, to oneself or to others, or takes them away"},
		{roles, reads, escalates,
			"it shows who holds which rights, and so whom to take over; Kubernetes' own role view leaves it out"},
		{"users groups users.authentication.k8s.io groups.authentication.k8s.io uids.authentication.k8s.io " +
			"userextras.authentication.k8s.io",
			every, escalates, "these kinds are there to be impersonated, and for nothing else"},
		{"signers.certificates.k8s.io", every, escalates, "it signs or approves certificates by which somebody is believed"},
		{"certificatesigningrequests/approval.certificates.k8s.io", every, escalates,
			"it approves certificates by which somebody is believed"},
		{certificates, writes, escalates, "it asks for certificates by which somebody is believed, or hands them out"},
		{certificates, reads, harmless, "certificates without their keys are public"},
		{"clustertrustbundles.certificates.k8s.io", writes, escalates, "it says whom Pods believe"},
		{"tokenreviews.authentication.k8s.io", "create", escalates,
			"it finds out whether a token that was found somewhere works, and whose it is"},
		{"subjectaccessreviews.authorization.k8s.io localsubjectaccessreviews.authorization.k8s.io", "create", escalates,
			"it shows who may do what, and so whom to take over"},
	}
}

// admissionRows: good practices, "control admission webhooks"; rbac-police control_webhooks; kubesplaining B-018, B-019
// and D. Valetkey's own rules are such policies: see config/admission.
func admissionRows() []row {
	const kinds = "validatingadmissionpolicies.admissionregistration.k8s.io " +
		"validatingadmissionpolicies/status.admissionregistration.k8s.io " +
		"validatingadmissionpolicybindings.admissionregistration.k8s.io " +
		"mutatingadmissionpolicies.admissionregistration.k8s.io " +
		"mutatingadmissionpolicybindings.admissionregistration.k8s.io " +
		"validatingwebhookconfigurations.admissionregistration.k8s.io " +
		"mutatingwebhookconfigurations.admissionregistration.k8s.io"
	return []row{
		{kinds, writes, escalates,
			"it says what the API server refuses and changes, Valetkey's own rules included; a webhook sees what is stored"},
		{kinds, reads, harmless, describes},
	}
}

// storageRows: good practices, "persistent volume creation"; kubesplaining B-027, B-028, G; discovery.
func storageRows() []row {
	const (
		classes = "storageclasses.storage.k8s.io csidrivers.storage.k8s.io csinodes.storage.k8s.io " +
			"csinodes/status.storage.k8s.io csistoragecapacities.storage.k8s.io volumeattributesclasses.storage.k8s.io"
		attachments = "volumeattachments.storage.k8s.io volumeattachments/status.storage.k8s.io"
		volumes     = "persistentvolumes persistentvolumes/status"
		claims      = "persistentvolumeclaims persistentvolumeclaims/status"
	)
	return []row{
		{claims, shapes, escalates, "a claim can take a volume, or a copy of one, that holds the data of others"},
		{claims, removes, disrupts, "it ends stored data"},
		{volumes, writes, escalates, "a volume can be any folder of a node, and names Secrets that its driver reads"},
		{volumes, reads, harmless, describes},
		{classes, writes, escalates, "storage drivers act on it with the rights of the node"},
		{classes, reads, harmless, describes},
		{attachments, every, escalates,
			"storage drivers act on it with the rights of the node, and nobody promises that it holds no credentials"},
	}
}

// deviceRows: https://kubernetes.io/docs/concepts/security/hardening-guide/dynamic-resource-allocation/; kubesplaining
// L N5 and N7; k8s.io/api/resource/v1 for the subresources binding and driver, which only roles name.
func deviceRows() []row {
	const (
		devices = "deviceclasses.resource.k8s.io resourceslices.resource.k8s.io"
		taints  = "devicetaintrules.resource.k8s.io devicetaintrules/status.resource.k8s.io " +
			"resourcepoolstatusrequests.resource.k8s.io resourcepoolstatusrequests/status.resource.k8s.io"
	)
	return []row{
		{"resourceclaims.resource.k8s.io resourceclaims/status.resource.k8s.io resourceclaimtemplates.resource.k8s.io",
			writes, escalates,
			"it says which devices Pods get, and with what parameters drivers prepare them on the node"},
		{"resourceclaims/binding.resource.k8s.io resourceclaims/driver.resource.k8s.io", every, escalates,
			"it says which devices Pods get, as the scheduler and the drivers do"},
		{devices, writes, escalates,
			"it says which devices there are, and with what parameters drivers prepare them on the node"},
		{devices, reads, harmless, describes},
		{taints, writes, disrupts, "it ends Pods that use a device, or has devices counted"},
		{taints, reads, harmless, describes},
	}
}

// urlRows: policy.go, system:monitoring; https://kubernetes.io/docs/reference/using-api/health-checks/; for /logs and
// /debug k8s.io/apiserver/pkg/server/routes.
func urlRows() []row {
	return []row{
		{"/metrics /metrics/slis /livez/* /readyz/* /healthz/* /statusz /flagz", "get head", harmless, describes},
		{"/logs /logs/* /debug/* /debug/pprof /debug/pprof/*", "get head post put patch delete", escalates,
			"it reads files or the memory of the API server"},
	}
}

// valetkeyRows are Valetkey's own kinds. Sources: config/rbac/users.yaml, docs/security.md.
func valetkeyRows() []row {
	const (
		catalogue = "capabilities.valetkey.dev capabilitypolicies.valetkey.dev capabilityproviders.valetkey.dev"
		statuses  = "capabilities/status.valetkey.dev capabilitypolicies/status.valetkey.dev " +
			"capabilityproviders/status.valetkey.dev capabilityrequests/status.valetkey.dev " +
			"capabilitygrants/status.valetkey.dev"
		finalizers = "capabilityrequests/finalizers.valetkey.dev capabilitygrants/finalizers.valetkey.dev"
	)
	return []row{
		{"capabilityrequests.valetkey.dev", shapes, escalates,
			"it asks for other credentials, or decides on what others ask for"},
		{"capabilityrequests.valetkey.dev capabilitygrants.valetkey.dev", removes, disrupts, "it ends requests and grants"},
		{"capabilitygrants.valetkey.dev", "create update patch abandon introspect", escalates,
			"it gives up on a revocation, so that a credential works on, or finds out whether a token works"},
		{"capabilitygrants.valetkey.dev", "revoke", disrupts, "it ends grants"},
		{catalogue, writes, escalates, "it says which credentials there are, and who gets them"},
		{statuses + " " + finalizers, writes, escalates, "it says what the operator found out and did"},
		{"capabilityrequests.valetkey.dev capabilitygrants.valetkey.dev " + catalogue, reads, harmless,
			"it shows who asked for what, and no credential"},
		{statuses, reads, harmless, "it shows who asked for what, and no credential"},
	}
}
