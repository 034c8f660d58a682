// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bytes"
	"embed"
	"errors"
	"os"
	"path/filepath"
	"text/template"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

//go:embed files
var fileTemplates embed.FS

// writeFiles writes everything that the programs read: keys, kubeconfigs and configuration.
func (c *Cluster) writeFiles() error {
	if err := c.writePKI(); err != nil {
		return err
	}
	var err error
	if c.admin, err = c.UserConfig(adminUser, adminGroup); err != nil {
		return err
	}
	identities := map[string][]string{
		adminUser:         {adminUser, adminGroup},
		controllerManager: {"system:kube-controller-manager"},
		scheduler:         {"system:kube-scheduler"},
		kubelet:           {"system:node:" + NodeName, "system:nodes"},
	}
	for name, id := range identities {
		if err := c.writeKubeconfig(c.kubeconfigPath(name), id[0], id[1:]...); err != nil {
			return err
		}
	}
	return c.writeConfiguration()
}

func (c *Cluster) writePKI() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	c.ca = ca
	pki := c.rec.path("pki")
	server, err := ca.server(
		[]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", issuerHost},
		[]string{"127.0.0.1", serviceAddress, c.Address()},
	)
	if err != nil {
		return err
	}
	node, err := ca.server([]string{NodeName}, []string{c.Address()})
	if err != nil {
		return err
	}
	toKubelet, err := ca.client("kube-apiserver-kubelet-client", adminGroup)
	if err != nil {
		return err
	}
	private, public, err := newServiceAccountKey()
	if err != nil {
		return err
	}
	return errors.Join(
		ca.save(pki),
		server.save(pki, "apiserver"),
		node.save(pki, "kubelet"),
		toKubelet.save(pki, "apiserver-kubelet"),
		os.WriteFile(filepath.Join(pki, "sa.key"), private, 0o600),
		os.WriteFile(filepath.Join(pki, "sa.pub"), public, 0o600),
	)
}

func (c *Cluster) writeConfiguration() error {
	values := map[string]string{
		"Address":     c.Address(),
		"PodSubnet":   c.rec.Slot.podSubnet(),
		"CgroupRoot":  cgroupRoot(c.rec.Name),
		"PauseImage":  pauseImage,
		"Snapshotter": snapshotter(c.rec.StateDir),
	}
	for name, to := range map[string]string{
		"hosts":           "hosts",
		"containerd.toml": "config/containerd.toml",
		"kubelet.yaml":    "config/kubelet.yaml",
		"pods.conflist":   "cni/pods.conflist",

		"authentication.yaml": authenticationFile,
		"authorization.yaml":  authorizationFile,
	} {
		t, err := template.ParseFS(fileTemplates, "files/"+name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Option("missingkey=error").Execute(&b, values); err != nil {
			return err
		}
		// The hosts file is mounted already: it must be written in place.
		if err := os.WriteFile(c.rec.path(to), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// authenticationFile is the API server's AuthenticationConfiguration.
const authenticationFile = "config/authentication.yaml"

// Trust gives the API server another AuthenticationConfiguration. It takes it as soon as it notices, without a restart.
func (c *Cluster) Trust(configuration []byte) error {
	return os.WriteFile(c.rec.path(authenticationFile), configuration, 0o644)
}

// authorizationFile is the API server's AuthorizationConfiguration.
const authorizationFile = "config/authorization.yaml"

// AddAuthorizer has the API server ask a webhook after its own authorizers. The webhook's certificate is one of the
// cluster's own authority (ListenTLS). The API server asks it as soon as it notices, without a restart.
func (c *Cluster) AddAuthorizer(url string) error {
	const name = "webhook"
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: url, CertificateAuthorityData: c.ca.certPEM}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, c.kubeconfigPath(name))
	if err != nil {
		return err
	}
	file := c.rec.path(authorizationFile)
	own, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(own, `- type: Webhook
  name: webhook
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    authorizedTTL: 1s
    unauthorizedTTL: 1s
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: `+kubeconfigInside(name)+"}\n"...), 0o644)
}

// snapshotter returns the one that works on the file system of dir: an overlay cannot lie on another overlay, which is
// what a state directory inside a container is on.
func snapshotter(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}
