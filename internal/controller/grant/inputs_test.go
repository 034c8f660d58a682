// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/projection"
)

// TestCopies_OneThatIsThereAlreadyHasToBeTheGrantsOwn: nobody but the operator makes them while the admission rules hold, and nothing
// depends on that alone.
func TestCopies_OneThatIsThereAlreadyHasToBeTheGrantsOwn(t *testing.T) {
	scripts := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "scripts", UID: "scripts"}, Data: map[string]string{"run.sh": "echo fine"}}
	for name, row := range map[string]struct {
		change func(*corev1.ConfigMap)
		issued bool
	}{
		"the very same":          {func(*corev1.ConfigMap) {}, true},
		"with other content":     {func(c *corev1.ConfigMap) { c.Data = map[string]string{"run.sh": "echo evil"} }, false},
		"with more content":      {func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"more": {1}} }, false},
		"that can still change":  {func(c *corev1.ConfigMap) { c.Immutable = nil }, false},
		"that says it can":       {func(c *corev1.ConfigMap) { c.Immutable = ptr.To(false) }, false},
		"that nobody owns":       {func(c *corev1.ConfigMap) { c.OwnerReferences = nil }, false},
		"that another grant has": {func(c *corev1.ConfigMap) { c.OwnerReferences[0].UID = "another" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnvWith(t, []*corev1.ConfigMap{scripts.DeepCopy()}, mountsScripts)
			there := projection.Copy(e.grant(), projection.CopyName(e.grant().UID, 0), scripts)
			row.change(there)
			e.must(e.client.Create(t.Context(), there))
			e.reconcile()
			if issued := e.grant().Status.IssuedAt != nil; issued != row.issued || suspended(e.job()) == row.issued {
				t.Fatalf("issued: %v, the Job is held: %v; %+v", issued, suspended(e.job()), e.grant().Status)
			}
			if stop := e.grant().Status.Stop; !row.issued && (stop == nil || stop.Reason != v1alpha1.ReasonIssueFailed || !strings.Contains(stop.Message, there.Name)) {
				t.Errorf("it ends with %+v", stop)
			}
		})
	}
}

func mountsScripts(job *batchv1.Job) {
	job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "scripts", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "scripts"}}}}}
}

// TestCopies_AreOfWhatWasReviewed has the ConfigMap become another one after the last look at it, and before it is copied.
func TestCopies_AreOfWhatWasReviewed(t *testing.T) {
	scripts := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "scripts", UID: "scripts"}, Data: map[string]string{"run.sh": "echo fine"}}
	for name, row := range map[string]struct {
		change func(*corev1.ConfigMap) error
		issued bool
	}{
		"it is as it was": {func(*corev1.ConfigMap) error { return nil }, true},
		"it says something else": {func(c *corev1.ConfigMap) error {
			c.Data = map[string]string{"run.sh": "echo evil"}
			return nil
		}, false},
		"it is gone":        {func(c *corev1.ConfigMap) error { return apierrors.NewNotFound(corev1.Resource("configmaps"), c.Name) }, false},
		"it cannot be read": {func(*corev1.ConfigMap) error { return apierrors.NewServiceUnavailable("later") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnvWith(t, []*corev1.ConfigMap{scripts.DeepCopy()}, mountsScripts)
			e.grants.Live = live.New(interceptor.NewClient(e.client.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					err := c.Get(ctx, key, o, opts...)
					if cm, ok := o.(*corev1.ConfigMap); ok && err == nil {
						return row.change(cm)
					}
					return err
				}}))
			_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(e.grant())})
			there := &corev1.ConfigMap{}
			key := client.ObjectKey{Namespace: namespace, Name: projection.CopyName(e.grant().UID, 0)}
			copied := e.client.Get(t.Context(), key, there) == nil
			if copied != row.issued || (err == nil) != row.issued || e.grant().Status.IssuedAt != nil && !row.issued {
				t.Errorf("copied: %v, issued at %v; %v", copied, e.grant().Status.IssuedAt, err)
			}
		})
	}
}
