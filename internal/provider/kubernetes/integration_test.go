// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package kubernetes_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clients "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/conformance"
	"github.com/valetkey/valetkey/internal/provider/kubernetes"
)

const identities = "valetkey-identities"

// realWorld is the back end with a real API server.
type realWorld struct {
	*kubernetes.Provider
	admin *clients.Clientset
	api   *rest.Config
	// gate stands before the API server, for the back end.
	gate *conformance.Gate
	url  string

	mu     sync.Mutex
	tokens []string
}

func newRealWorld(t *testing.T) *realWorld {
	t.Helper()
	cluster := clustertest.Start(t, localcluster.Options{Fast: true})
	w := &realWorld{api: cluster.AdminConfig()}
	w.api.QPS = -1
	w.admin = clients.NewForConfigOrDie(w.api)
	w.catalogue(t)
	transport, err := rest.TransportFor(w.api)
	if err != nil {
		t.Fatal(err)
	}
	w.gate, w.url = conformance.Proxy(t, w.api.Host, transport)
	w.Provider = w.another(t)
	return w
}

// another is the back end in another process.
func (w *realWorld) another(t *testing.T) *kubernetes.Provider {
	t.Helper()
	config := &rest.Config{Host: w.url}
	roles, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.New(kubernetes.Options{
		Servers: []string{w.api.Host}, CA: func() ([]byte, error) { return w.api.CAData, nil }, Namespace: identities,
		Identities: identity.NewSource(clients.NewForConfigOrDie(config), identities), Roles: roles,
	})
}

// Issue remembers the token, for the suite to look for.
func (w *realWorld) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	c, err := w.Provider.Issue(ctx, l)
	if c == nil {
		return nil, err
	}
	config, problem := clientcmd.RESTConfigFromKubeConfig([]byte(c.Files()["kubernetes/config"]))
	if problem != nil {
		return nil, problem
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = append(w.tokens, config.BearerToken)
	return c, err
}

func (w *realWorld) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tokens)
}

// catalogue makes the identities: one that may read ConfigMaps in web, and one without any right.
func (w *realWorld) catalogue(t *testing.T) {
	t.Helper()
	ctx, o := t.Context(), metav1.CreateOptions{}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{identities, "web"} {
		must(w.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, o))
	}
	for _, name := range []string{"reader", "bare"} {
		must(w.admin.CoreV1().ServiceAccounts(identities).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.AnnotationCapability: "read"}}}, o))
	}
	must(w.admin.RbacV1().Roles("web").Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}}}, o))
	must(w.admin.RbacV1().RoleBindings("web").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: identities, Name: "reader"}}}, o))
}

func (w *realWorld) lease() provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: time.Hour, Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Kubernetes: &v1alpha1.KubernetesCapability{ServiceAccountName: "reader"}}},
		Provider:   &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{Kubernetes: &v1alpha1.KubernetesProvider{Server: w.api.Host}}},
	}
}

// container is an ordinary client that has nothing but the projected file.
func (w *realWorld) container(t *testing.T, c *provider.Credential) *clients.Clientset {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(c.Files()["kubernetes/config"]))
	if err != nil {
		t.Fatal(err)
	}
	return clients.NewForConfigOrDie(config)
}

func (w *realWorld) works(t *testing.T, c *provider.Credential) bool {
	t.Helper()
	_, err := w.container(t, c).CoreV1().ConfigMaps("web").List(t.Context(), metav1.ListOptions{})
	if err != nil && !apierrors.IsUnauthorized(err) {
		t.Fatalf("the API server says neither yes nor no: %v", err)
	}
	return err == nil
}

func throttle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429}`)
}

func TestKubernetesDoesWhatEveryBackEndDoes(t *testing.T) {
	w := newRealWorld(t)
	conformance.Run(t, "kubernetes, real API server", func(t *testing.T) conformance.Harness {
		w.empty(t)
		return conformance.Harness{
			Provider: w, Lease: w.lease(), Clock: clock.RealClock{}, Works: w.works,
			Unscope: func(c *v1alpha1.Capability) { c.Spec.Kubernetes.ServiceAccountName = "bare" },
			Beyond: func(t *testing.T, c *provider.Credential) bool {
				_, err := w.container(t, c).CoreV1().Secrets("web").List(t.Context(), metav1.ListOptions{})
				return err == nil
			},
			Throttle: func(*testing.T) { w.gate.AnswerNext(throttle) },
			Break:    w.gate.Break,
			Restart:  func(t *testing.T) provider.Provider { return w.another(t) },
			Secrets:  w.secrets,
		}
	})
}

// empty takes away the anchors of tests before.
func (w *realWorld) empty(t *testing.T) {
	t.Helper()
	if err := w.admin.CoreV1().Secrets(identities).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
}

// learn has the back end find out the API server's own audiences, for which it shows it the first token that it is given.
func (w *realWorld) learn(t *testing.T) {
	t.Helper()
	if _, err := w.Issue(t.Context(), w.lease()); err != nil {
		t.Fatal(err)
	}
	w.empty(t)
}

func TestATokenDoesWhatItsRolesSayAndNoMore(t *testing.T) {
	w := newRealWorld(t)
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil {
		t.Fatal(err)
	}
	api := w.container(t, c)
	if _, err := api.CoreV1().ConfigMaps("web").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("what its role says is refused: %v", err)
	}
	for what, err := range map[string]error{
		"another verb":      api.CoreV1().ConfigMaps("web").Delete(t.Context(), "kube-root-ca.crt", metav1.DeleteOptions{}),
		"another resource":  second(api.CoreV1().Secrets("web").List(t.Context(), metav1.ListOptions{})),
		"another namespace": second(api.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it forbidden", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestATokenThatAnotherProcessIssuedIsRevoked stands for an operator that was restarted: it knows of the token but its name.
func TestATokenThatAnotherProcessIssuedIsRevoked(t *testing.T) {
	w := newRealWorld(t)
	w.learn(t)
	lease := w.lease()
	var issued []*provider.Credential
	for lease.Attempt = 1; lease.Attempt <= 3; lease.Attempt++ {
		c, err := w.Issue(t.Context(), lease)
		if err != nil {
			t.Fatal(err)
		}
		issued = append(issued, c)
	}
	lease.Attempt = 3
	revoked, err := w.another(t).Revoke(t.Context(), lease.Issued("", time.Now().Add(time.Hour)))
	if err != nil || revoked.Mode != v1alpha1.RevocationImmediate || revoked.Lingers != 70*time.Second {
		t.Fatalf("%+v, %v", revoked, err)
	}
	for i, c := range issued {
		// No API server had seen these tokens before: none remembers them.
		if w.works(t, c) {
			t.Errorf("attempt %d works", i+1)
		}
	}
	if left, err := w.admin.CoreV1().Secrets(identities).List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
		t.Errorf("%d anchors are left: %v", len(left.Items), err)
	}
}

// TestAnAnchorThatIsHeldIsNotSaidToBeGone has somebody put a finalizer on it, which the admission rules refuse where they are installed.
func TestAnAnchorThatIsHeldIsNotSaidToBeGone(t *testing.T) {
	w := newRealWorld(t)
	w.learn(t)
	if _, err := w.Issue(t.Context(), w.lease()); err != nil {
		t.Fatal(err)
	}
	anchors, err := w.admin.CoreV1().Secrets(identities).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(anchors.Items) != 1 || len(anchors.Items[0].Data) > 0 {
		t.Fatalf("%d anchors, want an empty one: %v", len(anchors.Items), err)
	}
	anchor := &anchors.Items[0]
	anchor.Finalizers = []string{"example.com/hold"}
	if anchor, err = w.admin.CoreV1().Secrets(identities).Update(t.Context(), anchor, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Revoke(t.Context(), w.lease().Issued("", time.Now().Add(time.Hour))); err == nil || !strings.Contains(err.Error(), "take its finalizers off") {
		t.Errorf("got %v", err)
	}
	anchor, err = w.admin.CoreV1().Secrets(identities).Get(t.Context(), anchor.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	anchor.Finalizers = nil
	if _, err := w.admin.CoreV1().Secrets(identities).Update(t.Context(), anchor, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Revoke(t.Context(), w.lease().Issued("", time.Now().Add(time.Hour))); err != nil {
		t.Errorf("now it can go: %v", err)
	}
}

// TestAnAnchorThatIsThereAlreadyIsNotUsed: nobody knows who holds it.
func TestAnAnchorThatIsThereAlreadyIsNotUsed(t *testing.T) {
	w := newRealWorld(t)
	if _, err := w.Issue(t.Context(), w.lease()); err != nil {
		t.Fatal(err)
	}
	c, err := w.Issue(t.Context(), w.lease())
	if c != nil || !provider.IsRetryable(err) || !provider.IsRefused(err) || !strings.Contains(err.Error(), "AlreadyExists") {
		t.Errorf("got a credential %t, error %v", c != nil, err)
	}
}
