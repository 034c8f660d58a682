// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/step"
)

// choose takes one of the capability's steps, or, where it lists none or is not known, what the agent named. It says what is wrong
// with that.
func (w *wish) choose(c *call, capability *v1alpha1.Capability) string {
	w.capability = capability
	args := c.words(fieldArgs)
	switch {
	case c.text(fieldImage) != "":
		if c.number(fieldStep) != nil {
			return "step and image are both given; step takes its image from the capability"
		}
		w.step = step.Step{Image: c.text(fieldImage), Command: c.words(fieldCommand), Args: args}
	case capability == nil:
		return "image is missing: the capability's steps are not known to you"
	case len(capability.Spec.Runner) == 0:
		return fmt.Sprintf("image is missing: capability %s lists no steps", capability.Name)
	default:
		at := int(ptr.Deref(c.number(fieldStep), 0))
		if at >= len(capability.Spec.Runner) {
			return fmt.Sprintf("step is %d; capability %s has steps 0 to %d", at, capability.Name, len(capability.Spec.Runner)-1)
		}
		if len(c.words(fieldCommand)) > 0 {
			return "command is given without image; a step has its own command"
		}
		listed := &capability.Spec.Runner[at]
		if len(args) > 0 && !listed.AnyArgs {
			return fmt.Sprintf("args are given; step %d of capability %s takes none", at, capability.Name)
		}
		w.step = step.Of(listed, args)
	}
	w.step.ServiceAccount = c.text(fieldServiceAccount)
	return ""
}

// job is the request's, which has its name by now.
func (w *wish) job() *batchv1.Job {
	chosen := w.step
	chosen.Restricted = w.restricted
	return chosen.Job(w.request, w.capability)
}
