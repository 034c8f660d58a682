// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig is what kubectl and every client library read. The namespace is that which a command means when it names none.
func kubeconfig(server string, ca []byte, namespace, token string) ([]byte, error) {
	const name = "valetkey"
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &api.AuthInfo{Token: token}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: namespace}
	config.CurrentContext = name
	return clientcmd.Write(*config)
}
