// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
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
			e := newEnvWith(t, []*corev1.ConfigMap{scripts.DeepCopy()}, func(job *batchv1.Job) {
				job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "scripts", VolumeSource: corev1.VolumeSource{
					ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "scripts"}}}}}
			})
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
