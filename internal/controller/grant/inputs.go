// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
)

// inputCopy is a ConfigMap that the Job's Pod reads under another name than its own.
type inputCopy struct {
	reviewed v1alpha1.ReviewedInput
	// name of the copy.
	name string
	// content of the ConfigMap; nil if there was none when it was reviewed. There is no copy of it then, so that the Pod finds none.
	content *corev1.ConfigMap
}

// copies says which copies a grant makes. Nil where the Pod has them already, or nothing is known of the ConfigMaps.
func copies(g *v1alpha1.CapabilityGrant, review *v1alpha1.Review, found map[string]*corev1.ConfigMap) []inputCopy {
	if review == nil || found == nil {
		return nil
	}
	all := make([]inputCopy, 0, len(review.Inputs))
	for i, reviewed := range review.Inputs {
		all = append(all, inputCopy{reviewed: reviewed, name: projection.CopyName(g.UID, i), content: found[reviewed.Name]})
	}
	return all
}

// errInputChanged: the ConfigMap is not what was reviewed any more. The next pass says so in the request's words.
var errInputChanged = errors.New("a ConfigMap was changed since it was reviewed")

// copyInputs creates the copies. One that is there already has to be the grant's own, or nothing is issued for the grant.
func (c *Controller) copyInputs(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	for _, in := range mem.inputs {
		if in.reviewed.UID == "" {
			continue
		}
		if !policy.ContentMatches(in.reviewed, in.content) {
			return errInputChanged
		}
		want := projection.Copy(g, in.name, in.content)
		err := c.Client.Create(ctx, want)
		if apierrors.IsAlreadyExists(err) {
			there := &corev1.ConfigMap{}
			if err = c.Live.Get(ctx, client.ObjectKeyFromObject(want), there); err == nil && !sameCopy(there, want) {
				mem.Failure = lifecycle.Failure{Final: true, Message: fmt.Sprintf(
					"a ConfigMap %s is there, which is not the copy of what was reviewed; find out who made it", in.name)}
				return nil
			}
		}
		if err != nil {
			return &writeError{"copying ConfigMap " + in.reviewed.Name, err}
		}
	}
	mem.Copied = true
	return nil
}

// sameCopy reports whether a ConfigMap is what this grant would have made, and stays it.
func sameCopy(there, want *corev1.ConfigMap) bool {
	return ptr.Deref(there.Immutable, false) && there.DeletionTimestamp == nil &&
		equality.Semantic.DeepEqual(there.OwnerReferences, want.OwnerReferences) &&
		equality.Semantic.DeepEqual(there.Data, want.Data) && equality.Semantic.DeepEqual(there.BinaryData, want.BinaryData)
}

// pointers lists the copies by the names that the Job has for them.
func pointers(inputs []inputCopy) map[string]string {
	all := make(map[string]string, len(inputs))
	for _, in := range inputs {
		all[in.reviewed.Name] = in.name
	}
	return all
}

// deleteCopies deletes the copies. That there is none is no error.
func (c *Controller) deleteCopies(ctx context.Context, g *v1alpha1.CapabilityGrant) error {
	var errs error
	for i := range int(g.Status.Inputs) {
		copied := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: projection.CopyName(g.UID, i)}}
		err := c.Client.Delete(ctx, copied, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			errs = errors.Join(errs, fmt.Errorf("deleting ConfigMap %s: %s", copied.Name, apierrors.ReasonForError(err)))
		}
	}
	return errs
}
