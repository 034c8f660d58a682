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
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
)

// inputCopy is a ConfigMap that the Job's Pod reads under another name than its own. Its content is not kept: a grant can wait for long.
type inputCopy struct {
	reviewed v1alpha1.ReviewedInput
	// name of the copy. There is none of a ConfigMap that did not exist when it was reviewed, so that the Pod finds none.
	name string
}

// copies says which copies a grant makes. Nil where the Pod has them already, or nothing is known of the ConfigMaps.
func copies(g *v1alpha1.CapabilityGrant, found observe.Observation) []inputCopy {
	if found.Review == nil || !found.InputsRead {
		return nil
	}
	all := make([]inputCopy, 0, len(found.Review.Inputs))
	for i, reviewed := range found.Review.Inputs {
		all = append(all, inputCopy{reviewed: reviewed, name: projection.CopyName(g.UID, i)})
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
		err := c.copyInput(ctx, g, in)
		if apierrors.IsAlreadyExists(err) {
			var same bool
			if same, err = c.copied(ctx, g, in); err == nil && !same {
				mem.Failure = lifecycle.Failure{Final: true, Message: fmt.Sprintf(
					"a ConfigMap %s is there, which is not the copy of what was reviewed; find out who made it", in.name)}
				return nil
			}
		}
		if errors.Is(err, errInputChanged) {
			return err
		}
		if err != nil {
			return &writeError{what: "copying ConfigMap " + in.reviewed.Name, cause: err}
		}
	}
	mem.Copied = true
	return nil
}

// copyRoom is how many objects of the largest size it takes to read a ConfigMap, to see that it is what was reviewed, and to copy it.
const copyRoom = 4

// copyInput reads a ConfigMap once more, and creates the copy of it.
func (c *Controller) copyInput(ctx context.Context, g *v1alpha1.CapabilityGrant, in inputCopy) error {
	return c.Live.Group(ctx, g.Namespace, copyRoom, func(from client.Reader) error {
		content := &corev1.ConfigMap{}
		err := from.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: in.reviewed.Name}, content)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err != nil || !policy.ContentMatches(in.reviewed, content) {
			return errInputChanged
		}
		return c.Client.Create(ctx, projection.Copy(g, in.name, content))
	})
}

// copied reports whether a copy that is there is what this grant would have made, and stays it.
func (c *Controller) copied(ctx context.Context, g *v1alpha1.CapabilityGrant, in inputCopy) (same bool, err error) {
	err = c.Live.Group(ctx, g.Namespace, copyRoom, func(from client.Reader) error {
		there := &corev1.ConfigMap{}
		if err := from.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: in.name}, there); err != nil {
			return err
		}
		owners := projection.Copy(g, in.name, there).OwnerReferences
		same = ptr.Deref(there.Immutable, false) && there.DeletionTimestamp == nil &&
			equality.Semantic.DeepEqual(there.OwnerReferences, owners) && policy.ContentMatches(in.reviewed, there)
		return nil
	})
	return same, err
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
