// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/step"
)

// runOptions are the flags of run.
type runOptions struct {
	name, repo, environment, task, actor, justification string
	image, serviceAccount                               string
	step                                                int
	ttl                                                 ttlFlag
}

// withdrawal bounds what is done when somebody has given up.
const withdrawal = 15 * time.Second

func (s *shell) runStep() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run CAPABILITY --repo REPO --env ENVIRONMENT --task TASK [--image IMAGE] [-- COMMAND…]",
		Short: "Ask for a capability, run one step with it, and show what happens",
		Long: `Ask for a capability, run one step with it, and show what happens.

Creates a CapabilityRequest and its Job, as the caller. What happens goes to standard error, what the step prints to standard output. It
ends with the step's own exit code; Ctrl-C withdraws the request, which ends its grant.

Without --image the step is one that the capability lists; what stands behind -- are its arguments, where it takes any.`,
		Example: `  kubectl valetkey run publish-preview-build --repo web-app --env preview --task pr-184 --ttl 15m \
      --image registry.example.com/publisher@sha256:… -- /scripts/publish-preview.sh`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at > 1 || (at < 0 && len(args) > 1) {
				return errors.New("name one capability, and put the command behind --")
			}
			return s.stepThrough(cmd.Context(), o, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.repo, "repo", "", "repository that the step works on")
	f.StringVar(&o.environment, "env", "", "environment that it works on")
	f.StringVar(&o.task, "task", "", "task that it is for, such as pr-184")
	f.Var(&o.ttl, "ttl", "how long the credential is for, such as 15m; the capability's default if not set")
	f.StringVar(&o.image, "image", "", "image of the step, by digest")
	f.IntVar(&o.step, "step", 0, "which of the capability's steps, if it lists several")
	f.StringVar(&o.name, "name", "", "name of the request; made of the capability's if not set")
	f.StringVar(&o.actor, "actor", "kubectl-valetkey", "who acts, in the caller's own words")
	f.StringVar(&o.justification, "justification", "", "why, for whoever approves")
	f.StringVar(&o.serviceAccount, "service-account", "", "ServiceAccount that the Pod runs as; the namespace's default if not set")
	for _, required := range []string{"repo", "env", "task"} {
		_ = cmd.MarkFlagRequired(required) // it is there
	}
	return cmd
}

// stepThrough creates both, and follows them to the end.
func (s *shell) stepThrough(ctx context.Context, o *runOptions, capability string, command []string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	known, err := c.capability(ctx, capability)
	if err != nil {
		return err
	}
	what, err := o.chosen(known, capability, command)
	if err != nil {
		return err
	}
	what.ServiceAccount = o.serviceAccount
	if what.Restricted, err = step.Restricted(ctx, c, c.namespace); err != nil {
		return err
	}
	r := o.request(c.namespace, capability)
	if err := c.Create(ctx, r); err != nil {
		return err
	}
	if err := c.Create(ctx, what.Job(r, known)); err != nil {
		return errors.Join(fmt.Errorf("the Job was not created, and request %s is withdrawn: %w", r.Name, err), c.withdraw(ctx, r))
	}
	j := newJourney(s, c, r)
	code, err := j.follow(ctx)
	if ctx.Err() != nil {
		return j.giveUp(ctx)
	}
	if err == nil && code != 0 {
		return &exit{code: code}
	}
	return err
}

// capability is the one of that name; nil for those who may not read it, to whom the operator will say what is wrong.
func (c *cluster) capability(ctx context.Context, name string) (*v1alpha1.Capability, error) {
	found := &v1alpha1.Capability{}
	err := c.Get(ctx, client.ObjectKey{Name: name}, found)
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	return found, err
}

// chosen is the step that the flags name.
func (o *runOptions) chosen(c *v1alpha1.Capability, name string, command []string) (step.Step, error) {
	switch {
	case o.image != "":
		return step.Step{Image: o.image, Command: command}, nil
	case c == nil:
		return step.Step{}, fmt.Errorf("--image is missing: you may not read capability %s, and so its steps are not known (ClusterRole valetkey-catalogue-viewer)", name)
	case len(c.Spec.Runner) == 0:
		return step.Step{}, fmt.Errorf("--image is missing: capability %s lists no steps", name)
	case o.step < 0 || o.step >= len(c.Spec.Runner):
		return step.Step{}, fmt.Errorf("--step %d: capability %s has steps 0 to %d", o.step, name, len(c.Spec.Runner)-1)
	case len(command) > 0 && !c.Spec.Runner[o.step].AnyArgs:
		return step.Step{}, fmt.Errorf("step %d of capability %s takes no arguments: %q", o.step, name, command)
	}
	return step.Of(&c.Spec.Runner[o.step], command), nil
}

func (o *runOptions) request(namespace, capability string) *v1alpha1.CapabilityRequest {
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: o.name}, Spec: v1alpha1.CapabilityRequestSpec{
		Capability: capability, TaskID: o.task, Actor: o.actor, Repo: o.repo, Environment: o.environment, Justification: o.justification, Container: "step"}}
	if o.name == "" {
		const longest = 48 // with what the API server adds, 54 at most
		r.GenerateName = step.NamePart(capability, longest) + "-"
	}
	r.Spec.TTLSeconds = o.ttl.seconds
	return r
}

// withdraw deletes a request, which ends its grant.
func (c *cluster) withdraw(ctx context.Context, r *v1alpha1.CapabilityRequest) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawal)
	defer cancel()
	err := c.Delete(ctx, r, client.Preconditions{UID: &r.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	return client.IgnoreNotFound(err)
}
