// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package env sets up what the benchmark runs against: a cluster without a node, what config/ ships but the operator, a capability with two
// policies, and a client for everybody. It also runs the operator, and stands in for the node.
package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/manifests"
)

// What is set up, by name.
const (
	// Namespace that requests are made in.
	Namespace = "bench"
	// Agent is the ServiceAccount that makes them.
	Agent = "web-app-bot"
	// Repo that they are about.
	Repo = "web-app"
	// Free and Approved are the environments of the two policies: one asks nobody, the other for one approval.
	Free, Approved = "bench", "bench-approved"
	// Container of the Jobs that is given the credential.
	Container = "publish"

	system     = "valetkey-system"
	identities = "valetkey-identities"
	node       = "played"
	// catalogued is the name of the provider, the capability and its identity.
	catalogued = "bench"
)

// Patience bounds each wait for one step of many grants.
const Patience = 5 * time.Minute

// Options say what to run, and where.
type Options struct {
	// Root of the repository.
	Root string
	// Manager is the path of the operator's program, and Flags more flags for it.
	Manager string
	Flags   []string
	// BackendName is token, kubernetes or aws.
	BackendName string
	// Fast lets etcd skip fsync.
	Fast bool
	// Bare removes the admission rules. Only floors can run without them.
	Bare bool
	// Profile lets the operator serve profiles.
	Profile bool
	// Progress gets a line about whatever takes long.
	Progress io.Writer
}

// Env is a cluster and everybody who works with it. Its clients are not throttled.
type Env struct {
	Options
	// Config is the administrator's.
	Config *rest.Config
	// Admin may do everything; Requester asks; Approver approves; AsOperator writes as the operator, for the admission rules let nobody else.
	Admin, Requester, Approver, AsOperator client.Client
	// Clients is the administrator's typed client.
	Clients kubernetes.Interface
	// Capability and Provider that requests ask for, as they are stored, and their back end, which renders scopes.
	Capability *v1alpha1.Capability
	Provider   *v1alpha1.CapabilityProvider
	Backend    provider.Provider

	cluster *localcluster.Cluster
	dir     string
	scheme  *runtime.Scheme
	kubelet client.Client
	job     batchv1.Job
	issuer  string
	address string
	pids    map[string]int
}

// Start sets everything up. What does not come up is removed again.
func Start(ctx context.Context, o Options) (*Env, error) {
	cluster, err := localcluster.Start(ctx, localcluster.Options{AWS: o.BackendName == "aws", Fast: true, Durable: !o.Fast, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	e := &Env{Options: o, cluster: cluster, scheme: runtime.NewScheme(), Config: cluster.AdminConfig(), dir: filepath.Join(cluster.StateDir(), "bench")}
	for _, step := range []func(context.Context) error{e.prepare, e.install, e.people, e.catalogue} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, e.Stop())
		}
	}
	return e, nil
}

// Stop removes the cluster.
func (e *Env) Stop() error { return e.cluster.Stop(context.Background()) }

// prepare makes what needs no cluster, and the administrator's clients.
func (e *Env) prepare(context.Context) error {
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(e.scheme); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(e.Root, "config", "samples", "request", "job.yaml"))
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, &e.job); err != nil {
		return err
	}
	// With a token its Pod would read a ConfigMap, of which each grant makes a copy: that is one write more for each, of every actor.
	e.job.Spec.Template.Spec.AutomountServiceAccountToken = ptr.To(false)
	e.Config.QPS = -1
	if e.Clients, err = kubernetes.NewForConfig(e.Config); err != nil {
		return err
	}
	if e.Admin, err = client.New(e.Config, client.Options{Scheme: e.scheme}); err != nil {
		return err
	}
	e.pids, err = sample.ClusterProcesses(e.cluster)
	return err
}

// install applies what config/ ships, but the operator itself.
func (e *Env) install(ctx context.Context) error {
	if err := manifests.Install(ctx, e.Config, e.Root); err != nil || !e.Bare {
		return err
	}
	for _, kind := range guard.Kinds() {
		if err := e.Admin.DeleteAllOf(ctx, kind); err != nil {
			return err
		}
	}
	return manifests.InForce(ctx, e.Config)
}

// people makes the namespace, its accounts, and a client for everybody.
func (e *Env) people(ctx context.Context) error {
	binding := func(role string, subject rbacv1.Subject) client.Object {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: role}, Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
	}
	enrolled := map[string]string{v1alpha1.LabelEnrolled: "true", "pod-security.kubernetes.io/enforce": "baseline"}
	err := e.store(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace, Labels: enrolled}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Agent}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "runner"}, AutomountServiceAccountToken: ptr.To(false)},
		binding("valetkey-requester", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: Namespace, Name: Agent}),
		binding("valetkey-approver", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "release-managers"}),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}},
	)
	if err != nil {
		return err
	}
	if e.Requester, err = e.account(ctx, Namespace, Agent); err != nil {
		return err
	}
	if e.AsOperator, err = e.account(ctx, system, "valetkey"); err != nil {
		return err
	}
	if e.Approver, err = e.person("alice@example.com", "release-managers"); err != nil {
		return err
	}
	e.kubelet, err = e.person("system:node:"+node, "system:nodes")
	return err
}

// store creates objects as the administrator.
func (e *Env) store(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		if err := e.Admin.Create(ctx, o); err != nil {
			return fmt.Errorf("creating %T %s: %w", o, o.GetName(), err)
		}
	}
	return nil
}

// account is a client with a ServiceAccount's token.
func (e *Env) account(ctx context.Context, namespace, name string) (client.Client, error) {
	token, err := e.token(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken, config.QPS = token, -1
	return client.New(config, client.Options{Scheme: e.scheme})
}

func (e *Env) token(ctx context.Context, namespace, name string) (string, error) {
	const day = 24 * 3600
	asked := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](day)}}
	issued, err := e.Clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, asked, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return issued.Status.Token, nil
}

// person is a client with a certificate.
func (e *Env) person(name, group string) (client.Client, error) {
	config, err := e.cluster.UserConfig(name, group)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return client.New(config, client.Options{Scheme: e.scheme})
}

// Source is what to sample; o is the operator that runs, or nil.
func (e *Env) Source(o *Operator) sample.Source {
	s := sample.Source{Processes: map[string]int{}, APIServer: e.Clients.CoreV1().RESTClient()}
	for name, pid := range e.pids {
		s.Processes[name] = pid
	}
	if o != nil {
		s.Processes[sample.Operator], s.Metrics, s.Peak = o.PID(), o.metrics, o.peak
	}
	return s
}
