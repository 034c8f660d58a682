// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	adminUser  = "admin"
	adminGroup = "system:masters"
)

// AdminConfig returns a configuration that may do everything and is not throttled by its client.
func (c *Cluster) AdminConfig() *rest.Config { return rest.CopyConfig(c.admin) }

// UserConfig returns a configuration for a user with a real certificate of the cluster's authority.
func (c *Cluster) UserConfig(user string, groups ...string) (*rest.Config, error) {
	p, err := c.ca.client(user, groups...)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host: c.apiURL(),
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.ca.certPEM,
			CertData: p.cert,
			KeyData:  p.key,
		},
		QPS: -1,
		// No proxy leads to the cluster, whatever the environment says.
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}, nil
}

// Kubeconfig writes the same as a file and returns its path. "admin" without groups is the administrator.
func (c *Cluster) Kubeconfig(user string, groups ...string) (string, error) {
	if user == adminUser && len(groups) == 0 {
		return c.kubeconfigPath(adminUser), nil
	}
	sum := sha256.Sum256([]byte(strings.Join(groups, "\x00")))
	path := c.kubeconfigPath("user-" + url.PathEscape(user) + "-" + hex.EncodeToString(sum[:4]))
	return path, c.writeKubeconfig(path, user, groups...)
}

func (c *Cluster) writeKubeconfig(path, user string, groups ...string) error {
	p, err := c.ca.client(user, groups...)
	if err != nil {
		return err
	}
	name := "valetkey-" + c.rec.Name
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: c.apiURL(), CertificateAuthorityData: c.ca.certPEM}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: p.cert, ClientKeyData: p.key}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
		CurrentContext: name,
	}, path)
}

func (c *Cluster) kubeconfigPath(name string) string {
	return c.rec.path("kubeconfig", name+".kubeconfig")
}

func (c *Cluster) apiURL() string { return fmt.Sprintf("https://%s:%d", c.Address(), apiPort) }
