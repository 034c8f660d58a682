// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestWritten_KeepsOfARequestWhatTheCacheHas, and leaves what was stored as it is, of which people are told.
func TestWritten_KeepsOfARequestWhatTheCacheHas(t *testing.T) {
	c, name := &Controller{}, types.NamespacedName{Name: "a"}
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "u", ResourceVersion: "2", Annotations: map[string]string{"a": "b"}}}
	r.Status.GrantName = "a"
	r.Status.Review = &v1alpha1.Review{Digest: "d", Job: v1alpha1.ReviewedJob{Name: "j", Command: []string{strings.Repeat("x", 1<<20)}}}
	c.wrote(name, r)
	kept := c.written[name]
	if kept.UID != "u" || kept.ResourceVersion != "2" || kept.Status.GrantName != "a" || kept.Status.Review.Digest != "d" {
		t.Errorf("it keeps %+v", kept)
	}
	if kept.Annotations != nil || kept.Status.Review.Job.Command != nil {
		t.Error("it keeps what the cache has not")
	}
	if r.Annotations == nil || r.Status.Review.Job.Command == nil {
		t.Error("what was stored is changed")
	}
}
