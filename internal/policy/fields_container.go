// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// containerFields are those of containers and init containers. Source: the documentation of core/v1, and the kubelet's behaviour as
// tried on a node.
func containerFields() []Field {
	return slices.Concat(
		of("Container",
			harmless("it tells containers apart, and each line says whose it is", "name"),
			listed(reviewed(Program, "what runs", "image", "command", "args", "workingDir")),
			listed(reviewed(Content, "what it reads", "env", "volumeMounts")),
			reviewed(Content, "what it reads", "envFrom", "volumeDevices"),
			reviewed(Network, "what it listens on, and what probes call by name", "ports"),
			anyStep(reviewed(Placement, "see its own fields", "resources")),
			rest("a granted Pod is not resized", "resizePolicy"),
			only("restartPolicy", "one request is one run; an init container can be a sidecar", "Never", "Always"),
			refused("the Pod would run again with the same credential", "restartPolicyRules"),
			reviewed(Program, "see their own fields", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"),
			only("terminationMessagePath", "a file of the node would lie over what is there", "/dev/termination-log"),
			unless(among(reviewed(Content, "whether the end of its log is in its Pod's status, which the step's must not be",
				"terminationMessagePolicy"),
				"File", "FallbackToLogsOnError"), "File"),
			unless(among(rest("when its image is looked for", "imagePullPolicy"), "Always", "IfNotPresent", "Never"), "IfNotPresent"),
			anyStep(unless(reviewed(Identity, "see its own fields", "securityContext"), empty)),
			notListed(rest("nobody can attach to a granted Pod", "stdin", "stdinOnce", "tty")),
		),
		of("ContainerPort",
			reviewed(Network, "what it listens on, and what probes call by name", "name", "containerPort"),
			unless(among(reviewed(Network, "what it listens on", "protocol"), "TCP", "UDP", "SCTP"), "TCP"),
			only("hostPort", "it would listen on the node", "0"),
			refused("it would listen on the node", "hostIP"),
		),
		of("ContainerResizePolicy", rest("a granted Pod is not resized", "resourceName"),
			among(rest("a granted Pod is not resized", "restartPolicy"), "NotRequired", "RestartContainer")),
		of("ResourceRequirements",
			input("a plug-in or a driver decides what a device is and does; any step may have cpu, memory, ephemeral-storage and "+
				"hugepages-*, which are none", "limits", "requests"),
			reviewed(Content, "which of the Pod's claims it has", "claims")),
		of("ResourceClaim", reviewed(Content, "which of the Pod's claims it has", "name", "request")),
		of("VolumeMount", reviewed(Content, "what it reads", "name", "mountPath", "subPath", "subPathExpr"),
			anyStep(reviewed(Content, "whether it can write there", "readOnly")),
			among(reviewed(Content, "whether it can write there", "recursiveReadOnly"), "Disabled", "IfPossible", "Enabled"),
			only("mountPropagation", "what it mounts would be seen elsewhere", "None", "HostToContainer"),
			anyStep(reviewed(Content, "what files there can do", "bindMountOptions"))),
		of("VolumeDevice", reviewed(Content, "what it reads", "name", "devicePath")),
	)
}

// variableFields are those of variables, and of what they are read from.
func variableFields() []Field {
	return slices.Concat(
		of("EnvVar", reviewed(Content, "what it reads", "name", "value", "valueFrom")),
		of("EnvVarSource",
			reviewed(Content, "what the API server says of the Pod, which nobody can change", "fieldRef", "resourceFieldRef"),
			input("a ConfigMap can change: the grant copies what was reviewed", "configMapKeyRef"),
			input("a Secret can change", "secretKeyRef"),
			refused("the kubelet reads it when it starts the container, and waits for ever where another container has made it a FIFO", "fileKeyRef"),
		),
		of("EnvFromSource", reviewed(Content, "what it reads", "prefix"),
			input("a ConfigMap can change: the grant copies what was reviewed", "configMapRef"),
			input("a Secret can change", "secretRef")),
		of("ConfigMapKeySelector", reviewed(Content, "what it reads", "name", "key"), rest("whether it has to be there", "optional")),
		of("SecretKeySelector", reviewed(Content, "what it reads", "name", "key"), rest("whether it has to be there", "optional")),
		of("ConfigMapEnvSource", reviewed(Content, "what it reads", "name"), rest("whether it has to be there", "optional")),
		of("SecretEnvSource", reviewed(Content, "what it reads", "name"), rest("whether it has to be there", "optional")),
		of("ObjectFieldSelector",
			unless(among(rest("of what version the name is", "apiVersion"), "v1"), "v1"),
			among(reviewed(Content, "what is known of the Pod", "fieldPath"), "metadata.name", "metadata.namespace", "metadata.uid",
				"metadata.labels*", "metadata.annotations*", "spec.nodeName", "spec.serviceAccountName",
				"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
		),
		of("ResourceFieldSelector", reviewed(Content, "what it may use of a node", "containerName", "resource"),
			unless(reviewed(Content, "in which unit it reads it", "divisor"), "0")),
	)
}

// probeFields are those of probes and hooks: what the kubelet runs in a container, or asks on its behalf.
func probeFields() []Field {
	const elsewhere = "Pod Security of the namespace lets the kubelet ask nobody but the Pod itself"
	return slices.Concat(
		of("Probe", handlers("tcpSocket"),
			reviewed(Network, "see its own fields; the step's have none, for the kubelet writes into an event what is answered", "httpGet", "grpc"),
			reviewed(Program, "see its own fields; the step's have none, for the kubelet writes into an event what it prints", "exec"),
			asked("initialDelaySeconds", "0"), asked("timeoutSeconds", "1"), asked("periodSeconds", "10"),
			asked("successThreshold", "1"), asked("failureThreshold", "3"),
			refused("a container that fails it would hold up the Pod's end", "terminationGracePeriodSeconds")),
		of("Lifecycle", refused("the kubelet looks at no deadline while it runs", "postStart"),
			handlers("preStop"),
			reviewed(Program, "what tells it to end; it is killed five seconds later", "stopSignal")),
		of("LifecycleHandler", handlers("httpGet", "tcpSocket", "sleep"),
			reviewed(Network, "see its own fields; the step's have none, for the kubelet writes into its log what it prints", "exec")),
		of("ExecAction", reviewed(Program, "what runs", "command")),
		of("HTTPGetAction", reviewed(Network, "whom the kubelet asks", "port", "path", "httpHeaders"),
			refused(elsewhere, "host"),
			unless(among(reviewed(Network, "how it asks", "scheme"), "HTTP", "HTTPS"), "HTTP"),
			unless(among(reviewed(Network, "how it asks", "protocol"), "HTTP1", "HTTP2"), "HTTP1")),
		of("HTTPHeader", reviewed(Network, "whom the kubelet asks", "name", "value")),
		of("TCPSocketAction", reviewed(Network, "whom the kubelet asks", "port"), refused(elsewhere, "host")),
		of("GRPCAction", reviewed(Network, "whom the kubelet asks", "port", "service"),
			unless(among(reviewed(Network, "how it asks", "mode"), "Plaintext", "TLS"), "Plaintext")),
		of("SleepAction", among(reviewed(Placement, "a granted Pod has five seconds to end, and may not sleep for longer", "seconds"), "0", "1", "2", "3", "4", "5")),
	)
}

// asked is a number of a probe, with the API server's default: a command that is asked late enough never runs.
func asked(name, value string) []Field {
	return anyStep(unless(reviewed(Program, "when, and how often, it is asked", name), value))
}

func handlers(names ...string) []Field { return reviewed(Network, "see its own fields", names...) }

// securityFields are those of security contexts. Pod Security of the namespace limits them further.
func securityFields() []Field {
	const why = "what the kernel lets it do"
	as := func(names ...string) []Field { return anyStep(reviewed(Identity, why, names...)) }
	const windows = "its files and its deadline were tried on Linux alone"
	return slices.Concat(
		of("SecurityContext",
			only("privileged", "it could read the credential of any container of its node", "false"),
			only("procMount", "it would see more of the kernel", "Default"),
			refused(windows, "windowsOptions"),
			as("capabilities", "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem", "allowPrivilegeEscalation", "seLinuxOptions", "seccompProfile", "appArmorProfile"),
		),
		of("Capabilities", reviewed(Identity, why, "add"), anyStep(reviewed(Identity, "less than it has otherwise", "drop"))),
		of("PodSecurityContext",
			refused(windows, "windowsOptions"),
			as("runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "fsGroup", "sysctls", "seLinuxOptions", "seccompProfile", "appArmorProfile"),
			among(as("supplementalGroupsPolicy"), "Merge", "Strict"),
			among(rest("how volumes are given to it", "fsGroupChangePolicy"), "OnRootMismatch", "Always"),
			among(rest("how volumes are given to it", "seLinuxChangePolicy"), "MountOption", "Recursive"),
		),
		of("Sysctl", as("name", "value")),
		of("SELinuxOptions", as("user", "role", "type", "level")),
		of("SeccompProfile", among(as("type"), "Unconfined", "RuntimeDefault", "Localhost"), as("localhostProfile")),
		of("AppArmorProfile", among(as("type"), "Unconfined", "RuntimeDefault", "Localhost"), as("localhostProfile")),
	)
}
