// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/live"
)

// TestLivePeers_ANamespaceThatIsGoneHasNone: with it went the operator's rights there, and others are counted without it.
func TestLivePeers_ANamespaceThatIsGoneHasNone(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	now := metav1.Now()
	ns := func(deleted *metav1.Time, labels map[string]string) []client.Object {
		return []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other", DeletionTimestamp: deleted, Labels: labels, Finalizers: []string{"x"}}}}
	}
	marked := map[string]string{v1alpha1.LabelInUse: "true"}
	for name, row := range map[string]struct {
		there   []client.Object
		problem error
		counted bool
	}{
		"is gone":                         {nil, apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("capabilitygrants").GroupResource(), "", nil), true},
		"goes":                            {ns(&now, nil), apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("capabilitygrants").GroupResource(), "", nil), true},
		"goes, and grants live there":     {ns(&now, marked), apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("capabilitygrants").GroupResource(), "", nil), false},
		"is there without rights":         {ns(nil, nil), apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("capabilitygrants").GroupResource(), "", nil), false},
		"is gone, and cannot be asked of": {nil, errors.New("away"), false},
	} {
		grants := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&v1alpha1.CapabilityGrant{}, PolicyField, func(o client.Object) []string {
			return []string{o.(*v1alpha1.CapabilityGrant).Spec.Approval.Policy}
		}).WithObjects(&v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "g"},
			Spec: v1alpha1.CapabilityGrantSpec{Approval: v1alpha1.GrantApproval{Policy: "p"}}}).Build()
		server := interceptor.NewClient(grants, interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if (&client.ListOptions{}).ApplyOptions(opts).Namespace == "other" {
					return row.problem
				}
				return c.List(ctx, list, opts...)
			}})
		peers := LivePeers{Reader: live.New(server), Cache: fake.NewClientBuilder().WithScheme(scheme).WithObjects(row.there...).Build(), Namespaces: []string{"other", "agents"}}
		found, err := peers.Of(t.Context(), "p")
		if (err == nil) != row.counted || err == nil && len(found) != 1 {
			t.Errorf("a namespace that %s: %d are found, %v", name, len(found), err)
		}
	}
}

type noPeers struct{}

func (noPeers) Of(context.Context, string) ([]*v1alpha1.CapabilityGrant, error) {
	return nil, errors.New("they cannot be counted")
}

// TestWhatCannotBeCountedIsStopped: a grant that waits for its turn under a limit can be revoked whatever is not known of others.
func TestWhatCannotBeCountedIsStopped(t *testing.T) {
	e := newEnv(t)
	e.grants.Peers = noPeers{}
	limited := &v1alpha1.CapabilityPolicy{}
	e.must(e.client.Get(t.Context(), client.ObjectKey{Name: "previews"}, limited))
	limited.Spec.Limits = &v1alpha1.Limits{Active: ptr.To[int32](1)}
	e.must(e.client.Update(t.Context(), limited))
	if _, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()}); err == nil || e.grant().Status.Attempt != 0 {
		t.Errorf("it is at attempt %d, %v", e.grant().Status.Attempt, err)
	}
	g := e.grant()
	g.Annotations = map[string]string{v1alpha1.AnnotationRevoke: "enough"}
	e.must(e.client.Update(t.Context(), g))
	_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
	e.must(err)
	if stop := e.grant().Status.Stop; stop == nil || stop.Reason != v1alpha1.ReasonRevokedByAnnotation {
		t.Errorf("it is stopped: %+v", stop)
	}
}
