// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strings"
	"time"
)

// The programs that a cluster runs, or that people run against it.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kubelet           = "kubelet"
	kubectl           = "kubectl"
	containerd        = "containerd"
	containerdShim    = "containerd-shim-runc-v2"
	ctr               = "ctr"
	versitygw         = "versitygw"
	helm              = "helm"
	nodeinit          = "nodeinit"
	pause             = "pause"
)

// Other operators, for a cluster that was started with Options.Others. Each has a module of its own below hack/pins, by the same name.
const (
	PrometheusOperator = "prometheus-operator"
	Kueue              = "kueue"
)

// source is how to build one program.
type source struct {
	name    string
	dir     string // of the module, below the repository's root
	pkg     string
	tags    string
	ldflags string
	// inputs are the files whose content decides what is built, relative to dir.
	inputs []string
	// cold is how long a first build takes on two cores, to tell people what they are waiting for.
	cold time.Duration
}

const stripped = "-s -w"

// sources returns the programs of a cluster in the order in which they are built.
func sources(root string, o Options) ([]source, error) {
	list := ownPrograms(o)
	list = append(list, pinned("etcd", etcd, "go.etcd.io/etcd/server/v3", 47*time.Second))
	kube, err := kubernetesPrograms(root, o)
	if err != nil {
		return nil, err
	}
	list = append(list, kube...)
	if o.Node {
		for name, cold := range map[string]time.Duration{containerd: 2 * time.Minute, containerdShim: 20 * time.Second, ctr: 20 * time.Second} {
			s := pinned("containerd", name, "github.com/containerd/containerd/v2/cmd/"+name, cold)
			s.tags = "no_btrfs,no_zfs,no_devmapper"
			list = append(list, s)
		}
	}
	if o.AWS {
		list = append(list, pinned("versitygw", versitygw, "github.com/versity/versitygw/cmd/versitygw", 2*time.Minute))
	}
	if o.Vault {
		server := pinned("vault", vaultServer, "github.com/hashicorp/vault", 5*time.Minute)
		server.tags = "minimal"
		list = append(list, server,
			pinned("vault", vaultPostgres, "github.com/hashicorp/vault/plugins/database/postgresql/postgresql-database-plugin", 10*time.Second),
			pinned("vault", vaultKubernetes, "github.com/hashicorp/vault-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes", 10*time.Second))
	}
	if o.Helm {
		list = append(list, pinned("helm", helm, "helm.sh/helm/v4/cmd/helm", 4*time.Minute))
	}
	if o.Others {
		list = append(list, pinned(PrometheusOperator, PrometheusOperator, "github.com/prometheus-operator/prometheus-operator/cmd/operator", 3*time.Minute),
			pinned(Kueue, Kueue, "sigs.k8s.io/kueue/cmd/kueue", 5*time.Minute))
	}
	// The dearest comes first: what it compiles serves the others, and the wait after it is short.
	sort.SliceStable(list, func(i, j int) bool { return list[i].cold > list[j].cold })
	return list, nil
}

func pinned(module, name, pkg string, cold time.Duration) source {
	return source{
		name: name, dir: filepath.Join("hack", "pins", module), pkg: pkg, ldflags: stripped,
		inputs: []string{"go.mod", "go.sum"}, cold: cold,
	}
}

// ownPrograms are the small ones whose source is in this folder.
func ownPrograms(o Options) []source {
	own := func(name string, inputs ...string) source {
		return source{
			name: name, dir: ".", pkg: "./hack/localcluster/" + name, ldflags: stripped,
			inputs: append(inputs, "hack/localcluster/"+name+"/main.go"), cold: time.Second,
		}
	}
	list := []source{own(nodeinit, "hack/localcluster/supervisor/supervisor.go", "hack/localcluster/supervisor/client.go")}
	if o.Node {
		list = append(list, own(pause, "hack/localcluster/pause/Dockerfile"))
	}
	return list
}

func kubernetesPrograms(root string, o Options) ([]source, error) {
	ldflags, err := kubernetesLdflags(root)
	if err != nil {
		return nil, err
	}
	cold := map[string]time.Duration{apiServer: 11 * time.Minute, controllerManager: 2 * time.Minute, kubectl: 30 * time.Second}
	if o.Node {
		cold[kubelet], cold[scheduler] = 45*time.Second, 20*time.Second
	}
	list := make([]source, 0, len(cold))
	for name, d := range cold {
		s := pinned("kubernetes", name, "k8s.io/kubernetes/cmd/"+name, d)
		s.ldflags = ldflags
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list, nil
}

var kubernetesVersion = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes v((\d+)\.(\d+)\.\S+)`)

// kubernetesLdflags links the version in. Without it the programs say v0.0.0, and clients refuse to work with them.
func kubernetesLdflags(root string) (string, error) {
	file := filepath.Join(root, "hack", "pins", "kubernetes", "go.mod")
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	v := kubernetesVersion.FindSubmatch(b)
	if v == nil {
		return "", fmt.Errorf("%s does not require k8s.io/kubernetes", file)
	}
	const pkg = "-X k8s.io/component-base/version."
	return fmt.Sprintf("%s %sgitVersion=v%s %sgitMajor=%s %sgitMinor=%s -X k8s.io/client-go/pkg/version.gitVersion=v%s",
		stripped, pkg, v[1], pkg, v[2], pkg, v[3], v[1]), nil
}

// key names a build by everything that decides what comes out.
func (s source) key(root string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, s.pkg, s.tags, s.ldflags)
	for _, name := range s.inputs {
		b, err := os.ReadFile(filepath.Join(root, s.dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, name, len(b))
		h.Write(b)
	}
	return s.name + "-" + hex.EncodeToString(h.Sum(nil))[:16], nil
}

// repositoryRoot finds the checkout that the caller works in: the pins of that checkout are what is to be built.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		b, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module github.com/valetkey/valetkey\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside a checkout of github.com/valetkey/valetkey", dir)
		}
	}
}
