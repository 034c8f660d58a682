// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// queued is a queue that keeps what is added.
type queued struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	now, later []string
}

func (q *queued) Add(r reconcile.Request)                       { q.now = append(q.now, r.Name) }
func (q *queued) AddAfter(r reconcile.Request, _ time.Duration) { q.later = append(q.later, r.Name) }

// TestItsNamespace_IsLookedThroughWhereItMatters: all that lives in a namespace is looked through, and thousands of grants begin in one.
func TestItsNamespace_IsLookedThroughWhereItMatters(t *testing.T) {
	marked := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "marked", Labels: map[string]string{v1alpha1.LabelInUse: "true"}}}
	h := itsNamespace(fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(marked, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}).Build())
	in := func(namespace string) *v1alpha1.CapabilityGrant {
		return &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "g"}}
	}
	for name, row := range map[string]struct {
		happens    func(*queued)
		now, later []string
	}{
		"a grant begins where the mark is": {happens: func(q *queued) { h.Create(t.Context(), event.CreateEvent{Object: in("marked")}, q) }},
		"and where somebody took it away":  {happens: func(q *queued) { h.Create(t.Context(), event.CreateEvent{Object: in("plain")}, q) }, now: []string{"plain"}},
		"in one that is not known yet":     {happens: func(q *queued) { h.Create(t.Context(), event.CreateEvent{Object: in("new")}, q) }, now: []string{"new"}},
		"a grant ends": {happens: func(q *queued) {
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: in("marked"), ObjectNew: in("marked")}, q)
		}, later: []string{"marked"}},
		"a grant goes": {happens: func(q *queued) { h.Delete(t.Context(), event.DeleteEvent{Object: in("marked")}, q) }, later: []string{"marked"}},
	} {
		q := &queued{}
		row.happens(q)
		if !slices.Equal(q.now, row.now) || !slices.Equal(q.later, row.later) {
			t.Errorf("%s: it is looked through at once in %v, later in %v", name, q.now, q.later)
		}
	}
}
