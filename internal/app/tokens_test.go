// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/token"
)

// TestLiving_AGrantThatIsToEndIsOver, also where nobody can store that in its status.
func TestLiving_AGrantThatIsToEndIsOver(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, batchv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		grant  func(*v1alpha1.CapabilityGrant)
		job    func(*batchv1.Job)
		behind func(*batchv1.Job)
		lives  bool
	}{
		"it runs": {lives: true},
		"the cache does not show yet that its Job was started": {behind: func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }, lives: true},
		"its Job was stopped":      {job: func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }},
		"another Job has the name": {job: func(j *batchv1.Job) { j.UID = "other" }},
		"its Job failed": {job: func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
		}},
		"its Job is complete": {job: func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		}},
		"somebody revoked it":                      {grant: func(g *v1alpha1.CapabilityGrant) { g.Annotations = map[string]string{v1alpha1.AnnotationRevoke: ""} }},
		"its time is over":                         {grant: func(g *v1alpha1.CapabilityGrant) { g.Status.ExpiresAt = &metav1.Time{Time: now} }},
		"it is being ended":                        {grant: func(g *v1alpha1.CapabilityGrant) { g.Status.Stop = &v1alpha1.GrantStop{} }},
		"another attempt is its last":              {grant: func(g *v1alpha1.CapabilityGrant) { g.Status.Attempt = 2 }},
		"it is another grant, under the same name": {grant: func(g *v1alpha1.CapabilityGrant) { g.Spec.LeaseID = "11111111-1111-4111-8111-111111111111" }},
	} {
		t.Run(name, func(t *testing.T) {
			g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "a"}}
			g.Spec.LeaseID, g.Spec.Job = "22222222-2222-4222-8222-222222222222", v1alpha1.GrantJob{Name: "valetkey-a", UID: "job"}
			g.Status.Attempt, g.Status.ExpiresAt = 1, &metav1.Time{Time: now.Add(time.Second)}
			asked := token.Grant{Namespace: "agents", Name: "a", Lease: g.Spec.LeaseID, Session: provider.Lease{ID: g.Spec.LeaseID, Attempt: 1}.Session()}
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "valetkey-a", UID: "job"}}
			if row.grant != nil {
				row.grant(g)
			}
			if row.job != nil {
				row.job(job)
			}
			shown := job.DeepCopy()
			if row.behind != nil {
				row.behind(shown)
			}
			stored := func(objects ...client.Object) client.Client {
				return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
			}
			lives, err := living(stored(g, job), stored(shown), clocktesting.NewFakePassiveClock(now))(t.Context(), asked)
			if err != nil || lives != row.lives {
				t.Errorf("it lives: %t (%v)", lives, err)
			}
		})
	}
}
