// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package manifests_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/config"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/test/manifests"
)

func TestInstallPutsTheWholeGuardInForce(t *testing.T) {
	ctx := t.Context()
	log.SetLogger(logr.Discard())
	cluster := clustertest.Start(t, localcluster.Options{Fast: true, Progress: os.Stderr})
	root := filepath.Join("..", "..")
	c := newClient(t, cluster)
	for _, when := range []string{"at first", "again"} {
		if err := manifests.Install(ctx, cluster.AdminConfig(), root); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		wholeGuard(ctx, t, c)
		noSentinels(ctx, t, c)
	}
	brokenGuard(ctx, t, cluster, root)
	changedRule(ctx, t, cluster, root)
}

// brokenGuard damages the rules in each way that the operator has to notice.
func brokenGuard(ctx context.Context, t *testing.T, cluster *localcluster.Cluster, root string) {
	t.Helper()
	const name = "valetkey-secrets"
	c := newClient(t, cluster)
	held := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for what, damage := range map[string]struct {
		do   func() error
		want string
	}{
		"a validation less": {func() error {
			return c.Patch(ctx, held, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/validations/0"}]`)))
		}, "ValidatingAdmissionPolicy valetkey-secrets differs from the shipped one"},
		"it fails open": {func() error {
			return c.Patch(ctx, held, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"failurePolicy":"Ignore"}}`)))
		}, "ValidatingAdmissionPolicy valetkey-secrets differs from the shipped one"},
		"it is gone": {func() error { return c.Delete(ctx, held) }, "ValidatingAdmissionPolicy valetkey-secrets is missing"},
		"it is going": {func() error {
			err := c.Patch(ctx, held, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`)))
			return errors.Join(err, c.Delete(ctx, held))
		}, "ValidatingAdmissionPolicy valetkey-secrets is being deleted"},
		"its binding is gone": {func() error {
			return c.Delete(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}, "ValidatingAdmissionPolicyBinding valetkey-secrets is missing"},
		"its binding only warns": {func() error {
			return c.Patch(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}},
				client.RawPatch(types.MergePatchType, []byte(`{"spec":{"validationActions":["Warn"]}}`)))
		}, "ValidatingAdmissionPolicyBinding valetkey-secrets differs from the shipped one"},
		"its binding spares a namespace": {func() error {
			return c.Patch(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}},
				client.RawPatch(types.MergePatchType, []byte(`{"spec":{"matchResources":{"namespaceSelector":{"matchLabels":{"a":"b"}}}}}`)))
		}, "ValidatingAdmissionPolicyBinding valetkey-secrets differs from the shipped one"},
	} {
		t.Run(what, func(t *testing.T) {
			before := check(ctx, t, c)
			if err := damage.do(); err != nil {
				t.Fatal(err)
			}
			after := check(ctx, t, c)
			if diff := cmp.Diff([]string{damage.want}, after.Problems); diff != "" {
				t.Error(diff)
			}
			if after.Since.Before(before.Since) && what != "it is gone" && what != "its binding is gone" {
				t.Errorf("a changed rule is younger: %v, before %v", after.Since, before.Since)
			}
			// Applying leaves what somebody else wrote into a rule.
			err := c.Patch(ctx, held, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
			for _, o := range []client.Object{held, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}} {
				err = errors.Join(client.IgnoreNotFound(err), client.IgnoreNotFound(c.Delete(ctx, o)))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := manifests.Install(ctx, cluster.AdminConfig(), root); err != nil {
				t.Fatal(err)
			}
			wholeGuard(ctx, t, c)
		})
	}
}

// check compares as the operator does.
func check(ctx context.Context, t *testing.T, c client.Client) guard.Status {
	t.Helper()
	checker, err := guard.New(config.Admission, c, c, "valetkey-system")
	if err != nil {
		t.Fatal(err)
	}
	status, err := checker.Check(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// changedRule sees, several times, that a change is in force at the very moment at which Install returns.
func changedRule(ctx context.Context, t *testing.T, cluster *localcluster.Cluster, root string) {
	t.Helper()
	const rule = "only a cluster's operator"
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "config"), os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copied, "config", "admission", "namespaces.yaml")
	shipped, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	namespaces := kubernetes.NewForConfigOrDie(cluster.AdminConfig()).CoreV1().Namespaces()
	used := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "used", Labels: map[string]string{"valetkey.dev/in-use": "true"}}}
	for n := range 5 {
		words := fmt.Sprintf("%s, %d times over", rule, n)
		changed := strings.Replace(string(shipped), "valetkey.dev/in-use is set and removed by the operator alone", words, 1)
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := manifests.Install(ctx, cluster.AdminConfig(), copied); err != nil {
			t.Fatal(err)
		}
		_, err := namespaces.Create(ctx, used, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("Install returned before its rules were obeyed: %v", err)
		}
	}
}

func newClient(t *testing.T, cluster *localcluster.Cluster) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := admissionv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cluster.AdminConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wholeGuard sees that what the API server stored is what the operator was built to expect.
func wholeGuard(ctx context.Context, t *testing.T, c client.Client) {
	t.Helper()
	if status := check(ctx, t, c); !status.Whole() {
		t.Error(strings.Join(status.Problems, "\n"))
	}
}

func noSentinels(ctx context.Context, t *testing.T, c client.Client) {
	t.Helper()
	for _, list := range []client.ObjectList{
		&admissionv1.ValidatingAdmissionPolicyList{}, &admissionv1.ValidatingAdmissionPolicyBindingList{},
		&admissionv1.MutatingAdmissionPolicyList{}, &admissionv1.MutatingAdmissionPolicyBindingList{},
	} {
		if err := c.List(ctx, list); err != nil {
			t.Fatal(err)
		}
		names, err := namesOf(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(name, "valetkey-tests-") {
				t.Errorf("%s was left behind", name)
			}
		}
	}
}

func namesOf(list client.ObjectList) ([]string, error) {
	items, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, item := range items {
		names = append(names, item.(client.Object).GetName())
	}
	return names, nil
}
