// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

// openingRows are the requests that the API server asks for a token only once, at their beginning, and that it ends at no
// time of its own. Sources: k8s.io/apiserver/pkg/server/filters/longrunning.go, with what kube-apiserver 1.37 names in
// pkg/controlplane/apiserver/config.go; every subresource whose action is connect in the API server's own OpenAPI, and
// whatever can be followed, as a test compares them. Beside them stand the rights by which a kubelet answers itself
// (pkg/kubelet/server/auth.go).
func openingRows() []row {
	const connections = "pods/exec pods/attach pods/portforward pods/proxy services/proxy nodes/proxy"
	const kubelets = "nodes/metrics nodes/stats nodes/pods nodes/healthz nodes/statusz nodes/log nodes/checkpoint nodes/configz nodes/spec"
	return []row{
		{anyKind, "watch", opens,
			"whoever has a watch open, with a copy of the token too, goes on reading after the grant's end, as long as they like"},
		{anyKind, "proxy", opens,
			"whoever has a connection open, with a copy of the token too, keeps it after the grant's end, as long as they like"},
		{connections, every, opens,
			"whoever has a connection open, with a copy of the token too, keeps it after the grant's end, as long as they like"},
		{"pods/log", "get", opens,
			"whoever follows a log, with a copy of the token too, goes on reading after the grant's end, as long as it goes on"},
		{kubelets, every, opens,
			"a kubelet asks the API server about a token itself, and believes its answer for two minutes by default: with a copy of the " +
				"token it goes on being asked after the grant's end"},
		{"/debug/* /debug/pprof/*", "get head post", opens,
			"whoever asks for a profile says for how long it is written, also past the grant's end"},
	}
}
