// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/hack/localcluster/supervisor"
)

// Where the cluster's own processes see the state directory and the built programs; see command nodeinit.
const (
	stateInside    = "/run/valetkey"
	programsInside = "/run/programs"
)

// versitygw runs twice, for its IAM and its S3 part.
const (
	versitygwIAM = "versitygw-iam"
	versitygwS3  = "versitygw-s3"
)

// commands returns everything that runs in the cluster. It depends on the record alone, so that a cluster that was opened
// starts a program as the one that made it did.
func (c *Cluster) commands() []supervisor.Program {
	list := []supervisor.Program{c.etcd(), c.apiServer(), c.controllerManager()}
	if c.rec.AWS {
		list = append(list, c.versitygwIAM(), c.versitygwS3())
	}
	if c.rec.Vault {
		list = append(list, c.postgres(), c.vault())
	}
	if c.rec.Node {
		list = append(list, c.scheduler(), c.containerd(), c.kubelet())
	}
	return list
}

func (c *Cluster) program(name string, args ...string) supervisor.Program {
	p := c.rec.programs()
	path := []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	if c.rec.Node {
		// containerd looks its shim up by name.
		path = append([]string{filepath.Dir(p.inside(containerdShim))}, path...)
	}
	return supervisor.Program{
		Name: name, Path: p.inside(name), Args: args,
		Env: []string{"PATH=" + strings.Join(path, ":"), "HOME=" + stateInside},
	}
}

func (c *Cluster) etcd() supervisor.Program {
	p := c.program(etcd,
		"--data-dir="+stateInside+"/etcd",
		"--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--log-level=warn",
	)
	if c.rec.Fast && !c.rec.Durable {
		p.Args = append(p.Args, "--unsafe-no-fsync")
	}
	return p
}

func (c *Cluster) apiServer() supervisor.Program {
	return c.program(apiServer,
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0",
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--advertise-address="+c.Address(),
		"--service-cluster-ip-range="+serviceRange,
		// No proxy routes Services here, so the API server looks up the Pods behind webhooks itself.
		"--enable-aggregator-routing=true",
		"--tls-cert-file="+pkiInside("apiserver.crt"),
		"--tls-private-key-file="+pkiInside("apiserver.key"),
		"--client-ca-file="+pkiInside("ca.crt"),
		"--authentication-config="+stateInside+"/"+authenticationFile,
		"--service-account-issuer="+issuerURL,
		"--service-account-jwks-uri="+issuerURL+"/openid/v1/jwks",
		"--service-account-key-file="+pkiInside("sa.pub"),
		"--service-account-signing-key-file="+pkiInside("sa.key"),
		"--kubelet-certificate-authority="+pkiInside("ca.crt"),
		"--kubelet-client-certificate="+pkiInside("apiserver-kubelet.crt"),
		"--kubelet-client-key="+pkiInside("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--authorization-config="+stateInside+"/"+authorizationFile,
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
	)
}

func (c *Cluster) controllerManager() supervisor.Program {
	p := c.program(controllerManager,
		"--kubeconfig="+kubeconfigInside(controllerManager),
		"--service-account-private-key-file="+pkiInside("sa.key"),
		"--root-ca-file="+pkiInside("ca.crt"),
		// Each controller acts in its own name, as on real clusters: who makes a Pod is then to be told.
		"--use-service-account-credentials=true",
		"--controllers=*,-nodeipam",
		// The default is a directory of the machine, which it would make.
		"--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
	)
	if c.rec.Fast {
		// Throttled as it is shipped, it takes five seconds to fetch its own controllers' tokens.
		p.Args = append(p.Args, "--kube-api-qps=500", "--kube-api-burst=1000")
	}
	return p
}

func (c *Cluster) scheduler() supervisor.Program {
	return c.program(scheduler,
		"--kubeconfig="+kubeconfigInside(scheduler),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
	)
}

func (c *Cluster) containerd() supervisor.Program {
	return c.program(containerd, "--config="+stateInside+"/config/containerd.toml")
}

func (c *Cluster) kubelet() supervisor.Program {
	return c.program(kubelet,
		"--config="+stateInside+"/config/kubelet.yaml",
		"--kubeconfig="+kubeconfigInside(kubelet),
		"--hostname-override="+NodeName,
		"--node-ip="+c.Address(),
	)
}

const iamSocket = stateInside + "/aws/iam.sock"

func (c *Cluster) versitygwIAM() supervisor.Program {
	return c.versitygw(versitygwIAM, stsPort, "iam", "--dir", stateInside+"/aws/iam", "--private-ports", iamSocket)
}

func (c *Cluster) versitygwS3() supervisor.Program {
	return c.versitygw(versitygwS3, s3Port, "--iam-standalone-endpoint", iamSocket, "posix", stateInside+"/aws/s3")
}

func (c *Cluster) versitygw(name string, port int, args ...string) supervisor.Program {
	common := []string{"--health", healthPath, "--quiet", "--region", awsRegion, "-p", fmt.Sprintf("0.0.0.0:%d", port)}
	p := c.program(versitygw, append(common, args...)...)
	p.Name = name
	p.Env = append(p.Env,
		"ROOT_ACCESS_KEY="+rootKey,
		"ROOT_SECRET_KEY="+rootSecret,
		// The issuer's certificate is the API server's own.
		"SSL_CERT_FILE="+pkiInside("ca.crt"),
	)
	return p
}

func pkiInside(file string) string { return stateInside + "/pki/" + file }

func kubeconfigInside(name string) string { return stateInside + "/kubeconfig/" + name + ".kubeconfig" }
