// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package kubernetes_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/kubernetes"
)

// served is what the API server's OpenAPI says of one method of one path.
type served struct {
	Action     string      `json:"x-kubernetes-action"`
	Parameters []parameter `json:"parameters"`
}

type parameter struct {
	Name string `json:"name"`
	// Reference is where the parameter is described: #/parameters/follow-9OIXh_2R.
	Reference string `json:"$ref"`
}

// goesOn reports whether what answers can go on for any time. A list that is watched is asked for by its own verb.
func (s served) goesOn(shared []parameter) bool {
	for _, p := range append(shared, s.Parameters...) {
		if p.Name == "follow" || strings.HasPrefix(p.Reference, "#/parameters/follow-") {
			return true
		}
	}
	return s.Action == "connect"
}

// verbOf is what the authorizer calls a method.
var verbOf = map[string]string{"get": "get", "head": "get", "post": "create", "put": "update", "patch": "patch",
	"delete": "delete"}

// asked is the kind that a path is about: pods/exec of the group "".
func asked(path string) (group, resource string) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if parts[0] == "apis" {
		group, parts = parts[1], parts[1:]
	}
	parts = parts[2:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return group, parts[0] + "/" + parts[2]
	}
	return group, parts[0]
}

// TestTable_KnowsAllThatTheAPIServerKeepsOpen fails when a newer Kubernetes has another way to open what goes on.
func TestTable_KnowsAllThatTheAPIServerKeepsOpen(t *testing.T) {
	w := newRealWorld(t)
	text, err := w.admin.RESTClient().Get().AbsPath("/openapi/v2").DoRaw(t.Context())
	w.must(t, err)
	api := struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}{}
	w.must(t, json.Unmarshal(text, &api))
	found := map[string]bool{}
	for path, methods := range api.Paths {
		var shared []parameter
		if text, is := methods["parameters"]; is {
			w.must(t, json.Unmarshal(text, &shared))
		}
		for method, verb := range verbOf {
			operation := served{}
			if text, is := methods[method]; is {
				w.must(t, json.Unmarshal(text, &operation))
			}
			if operation.Action == "" || !operation.goesOn(shared) {
				continue
			}
			group, resource := asked(path)
			found[resource] = true
			if !kubernetes.Opens(verb, group, resource) {
				t.Errorf("%s %s goes on, and need not be accepted", verb, path)
			}
		}
	}
	for _, resource := range []string{"pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy",
		"nodes/proxy", "pods/log"} {
		if !found[resource] {
			t.Errorf("%s was not found: this test does not see what it should", resource)
		}
	}
}

// TestRights_AWatchThatIsOpenGoesOn shows why a watch has to be accepted.
func TestRights_AWatchThatIsOpenGoesOn(t *testing.T) {
	w := newRealWorld(t)
	w.holder(t, "watcher", false, nil, may("list,watch", "", "configmaps"))
	if err := w.ready(t, "watcher"); err == nil || !strings.HasSuffix(err.Error(), "narrow it, or accept OpenConnections") {
		t.Errorf("it is ready, or not for that: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lease := w.lease()
	lease.Capability.Spec.Kubernetes = &v1alpha1.KubernetesCapability{ServiceAccountName: "watcher",
		Accept: []v1alpha1.KubernetesAcceptance{v1alpha1.AcceptOpenConnections}}
	c, err := w.Issue(ctx, lease)
	w.must(t, err)
	api := w.container(t, c).CoreV1().ConfigMaps("web")
	open, err := api.Watch(ctx, metav1.ListOptions{})
	w.must(t, err)
	defer open.Stop()
	if !w.revoked(ctx, t, lease).LeavesOpen {
		t.Error("it is not said that what was opened may go on")
	}
	if _, err := api.List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("the token still works: %v", err)
	}
	_, err = w.admin.CoreV1().ConfigMaps("web").Create(ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after-the-end"}}, metav1.CreateOptions{})
	w.must(t, err)
	for event := range open.ResultChan() {
		if read, is := event.Object.(*corev1.ConfigMap); is && event.Type == watch.Added && read.Name == "after-the-end" {
			return
		}
	}
	t.Error("the watch has ended with the token: it need not be accepted any more")
}

// TestRevoke_CountsWhatIsUnderWay sends a write whose body comes after the token's end.
func TestRevoke_CountsWhatIsUnderWay(t *testing.T) {
	w := newRealWorld(t)
	w.holder(t, "writer", false, nil, may("create", "", "configmaps"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lease := w.lease()
	lease.Capability.Spec.Kubernetes = &v1alpha1.KubernetesCapability{ServiceAccountName: "writer",
		Accept: []v1alpha1.KubernetesAcceptance{v1alpha1.AcceptEscalation}}
	c, err := w.Issue(ctx, lease)
	w.must(t, err)
	api := w.container(t, c).CoreV1()
	// The API server remembers the token from here on, so that it accepts what begins beside the revocation.
	_, err = api.ConfigMaps("web").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "early"}},
		metav1.CreateOptions{})
	w.must(t, err)
	body, rest := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		answered <- api.RESTClient().Post().Namespace("web").Resource("configmaps").
			SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	}()
	_, err = io.WriteString(rest, `{"apiVersion":"v1","kind":"ConfigMap",`)
	w.must(t, err)
	revoked := w.revoked(ctx, t, lease)
	_, err = io.WriteString(rest, `"metadata":{"name":"late"}}`)
	w.must(t, err)
	w.must(t, rest.Close())
	w.must(t, <-answered)
	const remembered, finished = 10 * time.Second, time.Minute
	if revoked.LeavesOpen || revoked.Lingers < remembered+finished {
		t.Errorf("what was begun before the end was done after it, and it is said to be over at once: %+v", revoked)
	}
}

// revoked waits for the end of a token that the API server has accepted a moment ago: it remembers it for ten seconds.
func (w *realWorld) revoked(ctx context.Context, t *testing.T, lease provider.Lease) provider.Revoked {
	t.Helper()
	for {
		revoked, err := w.Revoke(ctx, lease.Issued(w.Handle(lease), time.Now().Add(time.Hour)))
		if err == nil {
			return revoked
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(provider.RetryAfter(err)):
		}
	}
}
