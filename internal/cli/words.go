// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/visible"
)

// lasting is a time in seconds as a person says it, to the second: 900 is 15m, and 899 is 14m59s.
func lasting(seconds int32) string {
	words := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(words, "m0s") {
		words = strings.TrimSuffix(words, "0s")
	}
	if strings.HasSuffix(words, "h0m") {
		words = strings.TrimSuffix(words, "0m")
	}
	return words
}

// at is an instant, and how far it is from now.
func (s *shell) at(t time.Time) string {
	stamp := t.UTC().Format(time.RFC3339)
	if left := t.Sub(s.clock.Now()); left > 0 {
		return fmt.Sprintf("%s (in %s)", stamp, duration.HumanDuration(left))
	}
	return fmt.Sprintf("%s (%s ago)", stamp, s.age(t))
}

// count says how many: 1 grant, 2 grants.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// What the API server says when a rule, or its authorizer, refuses.
var (
	ruleRefused  = regexp.MustCompile(`(?s)^.*ValidatingAdmissionPolicy '([^']+)' with binding '[^']+' denied request: (.*)$`)
	rightMissing = regexp.MustCompile(`(?s)^.*User "([^"]*)" cannot (\S+) resource "([^"]+)" in API group "[^"]*" (?:in the namespace "([^"]+)"|at the cluster scope).*$`)
)

// advised is an error with what the person can do next.
type advised struct {
	error
	next string
}

func (a *advised) Unwrap() error { return a.error }

// about is an error about somebody's request: whoever asked has no say in it.
type about struct {
	error
	requester string
}

func (a *about) Unwrap() error { return a.error }

// lead says what went wrong, who refused it in their own words, and what the person can do next.
func (s *shell) lead(err error) string {
	words, next := s.refusal(err)
	text := visible.Line(words)
	if next != "" {
		text += "\nnext: " + visible.Line(next)
	}
	if said := (*advised)(nil); errors.As(err, &said) {
		text += "\nnext: " + visible.Line(said.next)
	}
	return text
}

func (s *shell) refusal(err error) (words, next string) {
	var status apierrors.APIStatus
	switch {
	case meta.IsNoMatchError(err):
		return err.Error(), "the cluster does not know the kinds of valetkey.dev. Is it the right one " +
			"(kubectl config current-context)? docs/install.md says how Valetkey is installed, and begins with " +
			"kubectl apply --server-side -k config/crd"
	case !errors.As(err, &status):
		return err.Error(), ""
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "failed to get server groups"):
		return err.Error(), "the API server does not let you in under this name. Whoever acts as somebody else, with --as, " +
			"needs the right to impersonate them"
	}
	server := status.Status().Message
	told := func(instead string) string { return strings.Replace(err.Error(), server, instead, 1) }
	if m := ruleRefused.FindStringSubmatch(server); m != nil {
		return told(fmt.Sprintf("the API server's rule %s refuses it: %s", m[1], m[2])), ""
	}
	if m := rightMissing.FindStringSubmatch(server); m != nil {
		requester := ""
		if a := (*about)(nil); errors.As(err, &a) {
			requester = a.requester
		}
		return told("the API server refuses it: " + server), s.missingRight(m[1], m[2], m[3], m[4], requester)
	}
	if apierrors.IsInvalid(err) {
		return told(inquiry.InWords(server)), ""
	}
	return err.Error(), ""
}

// missingRight says what helps somebody who lacks a right: often another namespace, and else a role of config/rbac/users.yaml.
// Whoever may be an agent is advised no role that is not meant for agents.
func (s *shell) missingRight(user, verb, resource, namespace, requester string) string {
	advice := bind(user, verb, resource, namespace)
	if account := strings.HasPrefix(user, serviceAccount); account || user == requester {
		if role := roleFor(verb, resource); !slices.Contains(agentRoles(), role) {
			advice = askPeople(role, account)
		}
	}
	if namespace != "" && *s.flags.Namespace == "" {
		return fmt.Sprintf("add -n NAMESPACE, if %s is not the namespace that you mean; else %s", namespace, advice)
	}
	return advice
}

const (
	serviceAccount = "system:serviceaccount:"
	roleApprover   = "valetkey-approver"
	roleRevoker    = "valetkey-revoker"
	roleRequester  = "valetkey-requester"
	roleViewer     = "valetkey-viewer"
	roleCatalogue  = "valetkey-catalogue-viewer"
)

// agentRoles are the roles that an agent may have.
func agentRoles() []string { return []string{roleRequester, roleViewer, roleCatalogue} }

// askPeople is what an agent, or whoever made a request, can do where only other people may.
func askPeople(role string, account bool) string {
	switch {
	case role == roleApprover && account:
		return "ask a person who may decide: agents decide on no request"
	case role == roleApprover:
		return "ask somebody else to decide: nobody decides on their own request"
	case role == roleRevoker:
		return "ask a person who may revoke; a request of your own you can withdraw: kubectl delete capreq NAME"
	}
	return "ask a person: agents have no such right"
}

// bind says which role of config/rbac/users.yaml holds a right, and how somebody gets it.
func bind(user, verb, resource, namespace string) string {
	role := roleFor(verb, resource)
	if role == "" {
		return fmt.Sprintf("ask whoever administers the cluster for the right to %s %s", verb, resource)
	}
	subject := "--user=" + user
	if account, ok := strings.CutPrefix(user, serviceAccount); ok {
		subject = "--serviceaccount=" + account
	}
	if namespace == "" {
		return fmt.Sprintf("have the ClusterRole %s bound: kubectl create clusterrolebinding NAME --clusterrole=%s %s",
			role, role, subject)
	}
	return fmt.Sprintf("have the ClusterRole %s bound in namespace %s: kubectl create rolebinding NAME -n %s --clusterrole=%s %s",
		role, namespace, namespace, role, subject)
}

// roleFor is the role for people, or agents, that holds a right; empty if none does.
func roleFor(verb, resource string) string {
	reads := slices.Contains([]string{"get", "list", "watch"}, verb)
	switch resource {
	case "capabilities", "capabilitypolicies":
		return roleCatalogue
	case "capabilityproviders":
		return roleViewer
	case "capabilityrequests", "capabilitygrants":
		switch {
		case reads:
			return roleViewer
		case resource == "capabilitygrants":
			return roleRevoker
		case verb == "create" || verb == "delete":
			return roleRequester
		}
		return roleApprover
	}
	return ""
}

// find reads an object of the cluster's namespace. When there is none of that name, the error says which there are.
func (c *cluster) find(ctx context.Context, what, name string, object client.Object, others client.ObjectList) error {
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return errors.New(c.missing(ctx, what, name, others))
	}
	if err != nil {
		return fmt.Errorf("reading %s %s in namespace %s: %w", what, name, c.namespace, err)
	}
	return nil
}

// missing says that there is no object of a name, what was perhaps meant, and where one of that name is.
func (c *cluster) missing(ctx context.Context, what, name string, list client.ObjectList) string {
	words := fmt.Sprintf("there is no %s %s in namespace %s", what, name, c.namespace)
	all, err := keysOf(ctx, c, list)
	if err != nil {
		// Whoever may not look everywhere may look here, or else only the name is known to be missing.
		all, _ = keysOf(ctx, c, list, client.InNamespace(c.namespace))
	}
	var here []string
	for _, key := range all {
		switch {
		case key.Namespace == c.namespace:
			here = append(here, key.Name)
		case key.Name == name:
			words += fmt.Sprintf("; namespace %s has one: add -n %s", key.Namespace, key.Namespace)
		}
	}
	const most = 5
	slices.SortStableFunc(here, func(a, b string) int { return cmp.Compare(alike(b, name), alike(a, name)) })
	if len(here) > 0 {
		words += "; there are " + strings.Join(here[:min(len(here), most)], ", ")
	}
	if more := len(here) - most; more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	return words
}

// alike is how far two names are the same from their beginning.
func alike(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// keysOf are the namespaces and names of the objects that a list finds.
func keysOf(
	ctx context.Context, from client.Reader, list client.ObjectList, options ...client.ListOption,
) ([]client.ObjectKey, error) {
	if err := from.List(ctx, list, options...); err != nil {
		return nil, err
	}
	var all []client.ObjectKey
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object, err := meta.Accessor(item)
		if err == nil {
			all = append(all, client.ObjectKey{Namespace: object.GetNamespace(), Name: object.GetName()})
		}
		return err
	})
	return all, err
}
