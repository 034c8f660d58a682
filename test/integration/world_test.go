// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/canary"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/test/manifests"
)

const (
	agents     = "agents"
	identities = "valetkey-identities"
	capability = "publish-preview-build"
)

// stage is what TestMain sets up for every test: one cluster, with everything installed but the operator.
var stage *world

// world is a cluster, the people who work with it, and what answers as STS.
type world struct {
	cluster *localcluster.Cluster
	scheme  *runtime.Scheme
	root    string
	dir     string
	manager string
	roleARN string
	// admin may do everything; alice is a release manager; kubelet is the node's.
	admin, alice, kubelet client.Client
	adminConfig           *rest.Config
	sts                   *strangeSTS
	canary                *canary.Canary

	mu     sync.Mutex
	shared *operator
	// plugin is the built plugin, once a test asked for it.
	plugin string
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, err := setUp(ctx)
	if w != nil {
		defer w.tearDown()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stage = w
	code := m.Run()
	if err := w.inspect(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// inspect looks, when all tests have run, at what the shared operator left: its audit log is sound, and no credential that was ever
// in a Secret stands in it, in its own log, or in an object or event.
func (w *world) inspect(ctx context.Context) error {
	if w.shared == nil {
		return nil
	}
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.shared.cmd.Process.Pid))
	if err != nil {
		return err
	}
	if err := w.shared.stop(); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, w.manager, "verify-audit", w.shared.audit).CombinedOutput(); err != nil {
		return fmt.Errorf("the audit log is not sound: %w\n%s", err, out)
	}
	kinds, err := w.kubectl(ctx, "api-resources", "--verbs=list", "-o", "name")
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(strings.Fields(kinds), func(kind string) bool { return kind == "secrets" })
	objects, err := w.kubectl(ctx, "get", "-A", "-o", "yaml", strings.Join(all, ","))
	if err != nil {
		return err
	}
	texts := map[string]string{"an object": objects, "its environment": string(environment)}
	for where, path := range map[string]string{"the audit log": w.shared.audit, "the operator's log": w.shared.log} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		texts[where] = string(text)
	}
	for where, text := range texts {
		if w.canary.Stands(text) {
			return fmt.Errorf("a credential stands in %s", where)
		}
	}
	values, grants := w.canary.Count()
	if values == 0 {
		fmt.Fprintln(os.Stderr, "no credential was issued by the shared operator: there was nothing to look for")
		return nil
	}
	fmt.Fprintf(os.Stderr, "no one of %d secret values of %d grants stands in a log, an object, an event or the operator's environment\n", values, grants)
	return nil
}

func setUp(ctx context.Context) (*world, error) {
	log.SetLogger(logr.Discard())
	cluster, err := localcluster.Start(ctx, localcluster.Options{AWS: true, Vault: true, Fast: true, Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	w := &world{cluster: cluster, scheme: runtime.NewScheme(), dir: filepath.Join(cluster.StateDir(), "integration"), adminConfig: cluster.AdminConfig(), sts: newStrangeSTS()}
	w.manager = filepath.Join(w.dir, "manager")
	if w.root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return w, err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"building the operator and the plugin", w.build},
		{"installing", w.install},
		{"making clients", w.people},
		{"starting to play the node", w.playNode},
		{"watching for credentials", func(ctx context.Context) (err error) {
			w.canary, err = canary.Watch(ctx, w.adminConfig)
			return err
		}},
	} {
		if err := step.do(ctx); err != nil {
			return w, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return w, nil
}

func (w *world) tearDown() {
	if w.shared != nil && !w.shared.over() {
		if err := w.shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	w.sts.close()
	if err := w.cluster.Stop(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (w *world) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", w.dir+"/", "./cmd/manager", "./cmd/kubectl-valetkey")
	cmd.Dir = w.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// install applies what is shipped but the operator's StatefulSet, and the samples with this cluster's endpoints and role.
func (w *world) install(ctx context.Context) error {
	a := w.cluster.AWS()
	if err := a.EnsureBucket(ctx, "previews"); err != nil {
		return err
	}
	var err error
	w.roleARN, err = a.EnsureRole(ctx, localcluster.RoleSpec{Name: "preview-deployer", Namespace: identities, ServiceAccount: capability})
	if err != nil {
		return err
	}
	config := func(folder string) []string {
		return []string{"apply", "--server-side", "-k", filepath.Join(w.root, "config", folder)}
	}
	for _, args := range [][]string{
		config("crd"), {"wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"},
		config("namespaces"), config("rbac"), manifests.AwaitAggregated(), config("admission"), config("samples"),
		{"patch", "capprov", "aws-preview", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aws":{"stsEndpoint":%q,"serviceEndpoint":%q}}}`, a.Endpoint, a.S3Endpoint)},
		{"patch", "cap", capability, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aws":{"roleARN":%q}}}`, w.roleARN)},
	} {
		if _, err := w.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs kubectl as the administrator.
func (w *world) kubectl(ctx context.Context, args ...string) (string, error) {
	kubeconfig, err := w.cluster.Kubeconfig("admin")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, w.cluster.Kubectl(), append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
	}
	return string(out), nil
}

// people makes a client for everybody who has a certificate.
func (w *world) people(context.Context) error {
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(w.scheme); err != nil {
			return err
		}
	}
	var err error
	if w.admin, err = client.New(w.adminConfig, client.Options{Scheme: w.scheme}); err != nil {
		return err
	}
	if w.alice, err = w.person("alice@example.com", "release-managers"); err != nil {
		return err
	}
	w.kubelet, err = w.person("system:node:"+node, "system:nodes")
	return err
}

func (w *world) person(name string, groups ...string) (client.Client, error) {
	config, err := w.cluster.UserConfig(name, groups...)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: w.scheme})
}

// token is a real token of a ServiceAccount.
func (w *world) token(ctx context.Context, namespace, name string) (string, error) {
	clients, err := kubernetes.NewForConfig(w.adminConfig)
	if err != nil {
		return "", err
	}
	answer, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

// account is a client with a ServiceAccount's token.
func (w *world) account(ctx context.Context, namespace, name string) (client.Client, error) {
	token, err := w.token(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(w.adminConfig)
	config.BearerToken, config.QPS = token, -1
	return client.New(config, client.Options{Scheme: w.scheme})
}

// operatorKubeconfig is a file with the token of the operator's own ServiceAccount.
func (w *world) operatorKubeconfig(ctx context.Context) (string, error) {
	return w.accountKubeconfig(ctx, "valetkey-system", "valetkey", filepath.Join(w.dir, "operator.kubeconfig"))
}

// accountKubeconfig writes a file with a ServiceAccount's token.
func (w *world) accountKubeconfig(ctx context.Context, namespace, name, path string) (string, error) {
	token, err := w.token(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	admin, err := w.cluster.Kubeconfig("admin")
	if err != nil {
		return "", err
	}
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return "", err
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	}
	return path, clientcmd.WriteToFile(*config, path)
}
