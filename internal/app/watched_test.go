// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// apiServer answers as one in which the operator has its rights in some namespaces; "" is the whole cluster.
func apiServer(rights []string, namespaces ...runtime.Object) *fake.Clientset {
	clients := fake.NewClientset(namespaces...)
	clients.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		review.Status.Allowed = slices.Contains(rights, review.Spec.ResourceAttributes.Namespace)
		return true, review, nil
	})
	return clients
}

func enrolled(name string, inUse string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelEnrolled: "true", v1alpha1.LabelInUse: inUse}}}
}

func TestAnOperatorStartsOnlyWhereItCanDoItsWorkAndLeavesNoGrantsBehind(t *testing.T) {
	const lacks = "the operator may not list capabilityrequests, list capabilitygrants, list jobs, list pods, create secrets"
	for name, row := range map[string]struct {
		watches, rights []string
		want            string
		served          []string
	}{
		"everywhere":                          {nil, []string{""}, "", nil},
		"everywhere, with rights in one":      {nil, []string{"agents"}, lacks + " in the whole cluster: apply config/rbac again, or name the namespaces to watch by --watch-namespace", nil},
		"where it has its rights":             {[]string{"agents", "busy"}, []string{"agents", "busy"}, "", []string{"agents", "busy"}},
		"where one is gone, and one goes":     {[]string{"gone", "agents", "going", "busy"}, []string{"agents", "busy"}, "", []string{"agents", "busy"}},
		"where one goes in which grants live": {[]string{"ends", "agents", "busy"}, []string{"agents", "busy"}, `--watch-namespace "ends": ` + lacks + " there: make the namespace and bind the ClusterRole valetkey-operator-namespaced in it (config/namespaced)", []string{"agents", "busy"}},
		"where all are gone":                  {[]string{"gone"}, []string{"agents"}, `--watch-namespace "gone": ` + lacks + " there: make the namespace and bind the ClusterRole valetkey-operator-namespaced in it (config/namespaced)\ngrants live in namespace busy, which is not watched: nobody would end them; add --watch-namespace=busy until they have ended", nil},
		"where it has none":                   {[]string{"agents", "busy"}, []string{"busy"}, `--watch-namespace "agents": ` + lacks + " there: make the namespace and bind the ClusterRole valetkey-operator-namespaced in it (config/namespaced)", []string{"busy"}},
		"elsewhere than where grants live":    {[]string{"agents"}, []string{"agents"}, "grants live in namespace busy, which is not watched: nobody would end them; add --watch-namespace=busy until they have ended", []string{"agents"}},
		"everywhere, so no namespace is left": {nil, []string{"", "agents"}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := metav1.Now()
			going, ends := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &now}}, enrolled("ends", "true")
			ends.DeletionTimestamp = &now
			if !slices.Contains(row.watches, "ends") {
				ends.Labels = nil
			}
			clients := apiServer(row.rights, enrolled("agents", ""), enrolled("idle", ""), enrolled("busy", "true"), going, ends)
			served, err := checkWatched(t.Context(), clients, options{watchNamespaces: row.watches}, logr.Discard())
			if !slices.Equal(served, row.served) {
				t.Errorf("served are %q, not %q", served, row.served)
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnEnrolledNamespaceThatIsNotWatchedIsNamedInTheLog(t *testing.T) {
	var lines []string
	logger := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	clients := apiServer([]string{"agents"}, enrolled("agents", ""), enrolled("idle", ""), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}})
	if _, err := checkWatched(t.Context(), clients, options{watchNamespaces: []string{"agents"}}, logger); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`"level"=0 "msg"="an enrolled namespace is not watched: requests there wait for ever" "namespace"="idle"`}, lines); diff != "" {
		t.Error(diff)
	}
}

func TestAClusterWhoseControllersHaveNoNamesOfTheirOwnIsRefused(t *testing.T) {
	named := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "job-controller"}}
	if err := checkJobController(t.Context(), fake.NewClientset(named)); err != nil {
		t.Error(err)
	}
	if err := checkJobController(t.Context(), fake.NewClientset()); err == nil {
		t.Error("there is no job-controller, and it went on")
	}
}
