// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

func (s *shell) describe() *cobra.Command {
	var o output
	cmd := &cobra.Command{Use: "describe NAME", Short: "Say who asks for what, what will run with it, and what is missing",
		Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeRequest(anyRequest),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			r, err := c.request(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if done, err := s.structured(o, c, r); done {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "%s\n%s\n", s.page(cmd.Context(), c, r), next(r))
			return err
		}}
	o.addOf(cmd, "words for a person if not set", "json", "yaml")
	return cmd
}

// request reads a request of the cluster's namespace.
func (c *cluster) request(ctx context.Context, name string) (*v1alpha1.CapabilityRequest, error) {
	r := &v1alpha1.CapabilityRequest{}
	return r, c.find(ctx, "request", name, r, &v1alpha1.CapabilityRequestList{})
}

// page is what a person decides on.
func (s *shell) page(ctx context.Context, c *cluster, r *v1alpha1.CapabilityRequest) string {
	p := &page{}
	fmt.Fprintf(p, "%s in namespace %s: %s\n", r.Name, r.Namespace, visible.Line(requestState(r)))
	s.asked(p, r)
	p.title("In the agent's own words, which nobody has checked")
	p.line("task", strconv.Quote(r.Spec.TaskID))
	p.line("actor", strconv.Quote(r.Spec.Actor))
	p.line("why", strconv.Quote(r.Spec.Justification))
	gets(p, r)
	if review := r.Status.Review; review != nil {
		runs(p, review)
		c.step(ctx, p, r)
		uncovered(p, review)
	}
	decided(p, r)
	s.granted(ctx, p, c, r)
	return p.String()
}

// page is text in sections of labelled lines. What comes from the cluster stays on its line.
type page struct{ strings.Builder }

func (p *page) title(words string) { fmt.Fprintf(p, "\n%s\n", words) }

func (p *page) line(label, words string) { fmt.Fprintf(p, "  %-11s %s\n", label, visible.Line(words)) }

func (s *shell) asked(p *page, r *v1alpha1.CapabilityRequest) {
	p.title("Who asks, as the API server knows them")
	p.line("requester", r.Spec.Requester.Username)
	p.line("groups", strings.Join(r.Spec.Requester.Groups, ", "))
	p.line("asked", s.at(r.CreationTimestamp.Time))
}

func gets(p *page, r *v1alpha1.CapabilityRequest) {
	p.title("What it gets")
	review := r.Status.Review
	if review == nil {
		p.line("capability", r.Spec.Capability)
		ttl := "for as long as the capability's default"
		if r.Spec.TTLSeconds != nil {
			ttl = "for " + lasting(*r.Spec.TTLSeconds)
		}
		p.line("for", fmt.Sprintf("repo %s, environment %s, %s", r.Spec.Repo, r.Spec.Environment, ttl))
		p.line("scope", "not known: the operator has written no review yet")
		return
	}
	p.line("capability", review.Capability.Name+": "+review.Capability.Description)
	p.line("for", fmt.Sprintf("repo %s, environment %s, for %s", r.Spec.Repo, r.Spec.Environment, lasting(review.TTLSeconds)))
	p.line("acts as", fmt.Sprintf("%s, by provider %s", review.Capability.Principal, review.Capability.Provider))
	for _, scope := range review.Scope {
		p.line("scope", scope)
	}
}

func runs(p *page, review *v1alpha1.Review) {
	job := review.Job
	p.title("What will run with it")
	p.line("container", fmt.Sprintf("%s of Job %s, as ServiceAccount %s", job.Container, job.Name, job.ServiceAccountName))
	p.line("image", job.Image)
	if len(job.Command) == 0 {
		p.line("command", "the image's own")
	}
	p.words("command", job.Command)
	p.words("args", job.Args)
	for _, other := range job.OtherContainers {
		p.line("beside it", other+", which gets no credential")
	}
}

// words are those of a command. One with lines of its own, as a script, is shown line by line.
func (p *page) words(label string, words []string) {
	var short []string
	flush := func() {
		if len(short) > 0 {
			p.line(label, quoted(short))
		}
		short = nil
	}
	for _, w := range words {
		if !strings.Contains(w, "\n") {
			short = append(short, w)
			continue
		}
		flush()
		p.line(label, "these lines, as one word:")
		for line := range strings.SplitSeq(strings.TrimSuffix(w, "\n"), "\n") {
			p.line("", "| "+strings.ReplaceAll(line, "\t", "    "))
		}
	}
	flush()
}

// step shows what else the container is given. The digest covers the whole Job; the review does not repeat it.
func (c *cluster) step(ctx context.Context, p *page, r *v1alpha1.CapabilityRequest) {
	reviewed := r.Status.Review.Job
	job := &batchv1.Job{}
	err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: reviewed.Name}, job)
	switch {
	case apierrors.IsNotFound(err) || (err == nil && string(job.UID) != reviewed.UID):
		p.line("the rest", "not known: the Job that was reviewed is gone")
		return
	case err != nil:
		p.line("the rest", "not known: the Job cannot be read: "+err.Error())
		return
	}
	pod := &job.Spec.Template.Spec
	for _, container := range append(pod.InitContainers, pod.Containers...) {
		if container.Name != reviewed.Container {
			continue
		}
		for _, from := range container.EnvFrom {
			p.line("env", "all of "+source(from.ConfigMapRef, from.SecretRef))
		}
		for _, v := range container.Env {
			p.line("env", variable(v))
		}
		for _, m := range container.VolumeMounts {
			p.line("mount", fmt.Sprintf("%s from volume %s", m.MountPath, m.Name))
		}
	}
	p.line("all of it", fmt.Sprintf("kubectl get job %s -n %s -o yaml", job.Name, job.Namespace))
}

func source(configMap *corev1.ConfigMapEnvSource, secret *corev1.SecretEnvSource) string {
	switch {
	case configMap != nil:
		return "ConfigMap " + configMap.Name
	case secret != nil:
		return "Secret " + secret.Name
	}
	return "another source"
}

func variable(v corev1.EnvVar) string {
	switch from := v.ValueFrom; {
	case from == nil:
		return v.Name + "=" + strconv.Quote(v.Value)
	case from.ConfigMapKeyRef != nil:
		return fmt.Sprintf("%s from key %s of ConfigMap %s", v.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Name)
	case from.SecretKeyRef != nil:
		return fmt.Sprintf("%s from key %s of Secret %s", v.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Name)
	}
	return v.Name + " from the Pod itself, or another source"
}

// uncovered is loud: it is what an approval does not hold still.
func uncovered(p *page, review *v1alpha1.Review) {
	if len(review.NotCovered) == 0 {
		return
	}
	p.title(fmt.Sprintf("!!! NOT COVERED: %s can change after the approval, without anybody being asked again", count(len(review.NotCovered), "thing")))
	for i, line := range review.NotCovered {
		p.line(fmt.Sprintf("!!! %d", i+1), line)
	}
}

func decided(p *page, r *v1alpha1.CapabilityRequest) {
	p.title("What is decided")
	if policy := r.Status.Policy; policy != nil {
		p.line("policy", fmt.Sprintf("%s, generation %d", policy.Name, policy.Generation))
	}
	p.line("operator", operatorSays(r))
	for _, d := range r.Decisions {
		p.line("decision", decisionWords(r, d))
	}
	if len(r.Decisions) == 0 {
		p.line("decision", "nobody's yet")
	}
	if review := r.Status.Review; review != nil {
		p.line("digest", review.Digest)
	}
}

// operatorSays is the condition Allowed, without the kubectl command at its end: the plugin has its own.
func operatorSays(r *v1alpha1.CapabilityRequest) string {
	reason := reasonOf(r.Status.Conditions, v1alpha1.ConditionAllowed)
	if reason == "" {
		return "nothing yet; it has not looked at the request, is not running, or does not watch this namespace (--watch-namespace)"
	}
	words, _, _ := strings.Cut(said(r.Status.Conditions, v1alpha1.ConditionAllowed), "; look at status.review, then: kubectl ")
	return reason + ": " + words
}

func decisionWords(r *v1alpha1.CapabilityRequest, d v1alpha1.Decision) string {
	words := fmt.Sprintf("%s by %s", d.Decision, d.By)
	if d.Reason != "" {
		words += ": " + strconv.Quote(d.Reason)
	}
	if review := r.Status.Review; review == nil || review.Digest != d.Digest {
		words += " (of another review; it does not count)"
	}
	return words
}

// granted says what became of the grant.
func (s *shell) granted(ctx context.Context, p *page, c *cluster, r *v1alpha1.CapabilityRequest) {
	if r.Status.GrantName == "" {
		return
	}
	p.title("What was granted")
	g := &v1alpha1.CapabilityGrant{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Status.GrantName}, g); err != nil {
		p.line("grant", "not known: "+err.Error())
		return
	}
	status := g.Status
	p.line("grant", fmt.Sprintf("%s, lease %s: %s", g.Name, g.Spec.LeaseID, grantState(g)))
	if status.IssuedAt != nil {
		p.line("issued", s.at(status.IssuedAt.Time))
	}
	if status.ExpiresAt != nil && status.EndedAt == nil {
		p.line("time is up", s.at(status.ExpiresAt.Time))
	}
	if id := status.Credential; id != nil {
		p.line("in its log", fmt.Sprintf("%s, credential %s", id.Principal, id.ID))
	}
	if stop := status.Stop; stop != nil {
		p.line("stopped", fmt.Sprintf("%s: %s", stop.Reason, stop.Message))
	}
	if status.EndedAt != nil {
		p.line("ended", s.at(status.EndedAt.Time))
	}
	if revocation := status.Revocation; revocation != nil {
		p.line("revocation", s.revocation(revocation))
	}
}

func (s *shell) revocation(r *v1alpha1.Revocation) string {
	words := string(r.Mode)
	if r.ConfirmedAt != nil {
		words += ", confirmed by the back end " + s.at(r.ConfirmedAt.Time)
	}
	if r.ExposedUntil != nil {
		words += ", a copy of the credential works until " + s.at(r.ExposedUntil.Time)
	}
	return words
}

// next is what a person can do now.
func next(r *v1alpha1.CapabilityRequest) string {
	command := func(verb string) string {
		return fmt.Sprintf("kubectl valetkey %s %s -n %s", verb, r.Name, r.Namespace)
	}
	switch {
	case r.Status.EndedAt != nil && r.Status.GrantName == "":
		return "next: " + command("why") + " tells it policy by policy; a request never changes: create another"
	case r.Status.EndedAt != nil:
		return "next: nothing; it has ended"
	case r.Status.GrantName != "":
		return "next: " + command("revoke") + " ends it at once"
	case reasonOf(r.Status.Conditions, v1alpha1.ConditionAllowed) == v1alpha1.ReasonAwaitingApproval:
		return "next: " + command("approve") + ", or deny"
	}
	return "next: " + command("why") + " tells what it waits for, policy by policy"
}
