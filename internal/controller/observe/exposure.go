// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/rbac"
)

// Moment is when it is asked who could read a credential.
type Moment bool

const (
	// Deciding is while a request is decided on. Nothing is issued by it alone.
	Deciding Moment = false
	// Issuing is right before a credential is minted or delivered: the API server itself is asked about the requester.
	Issuing Moment = true
)

// question is an access that must not be had by whoever could use it to read a credential, or to approve the
// request for it.
type question struct {
	needs  v1alpha1.Acceptance
	access rbac.Access
	// verb and object say the access to a person.
	verb, object string
}

// questionsAbout returns what is asked about a request. Approving is asked about by the request's own name: whoever
// asks has chosen it, and a right on one name is as good as on all. The name of a grant's Secret nobody knows
// beforehand.
func questionsAbout(request string) []question {
	secrets := func(verb, word string) question {
		return question{v1alpha1.AcceptSecretReader, rbac.Access{Verb: verb, Resource: "secrets"}, word, "Secrets"}
	}
	approve := rbac.Access{Verb: "approve", Group: v1alpha1.GroupVersion.Group, Resource: "capabilityrequests"}
	approve.Name = request
	return []question{
		secrets("get", "read"), secrets("list", "list"), secrets("watch", "watch"),
		{v1alpha1.AcceptRequesterMayApprove, approve, "approve", "requests"},
	}
}

// exposure is one look at who could read a credential or approve its request.
type exposure struct {
	*Observer
	namespace string
	requester v1alpha1.Identity
	questions []question
	// accounts and asks are what RBAC gives to the namespace's ServiceAccounts and to the requester.
	accounts, asks rbac.Rights
}

// Exposure finds out whether the requester, or any ServiceAccount of the namespace, could read the credential or
// approve the request. Every ServiceAccount counts, not the Job's alone: who may create a Job can run as any of
// them. What RBAC gives is read from the cache. Whether RBAC alone decides is found out as decision 11 says; where
// it does not, the API server is asked about each account.
func (o *Observer) Exposure(
	ctx context.Context, request *v1alpha1.CapabilityRequest, moment Moment,
) ([]policy.Risk, error) {
	e := &exposure{Observer: o, namespace: request.Namespace, requester: request.Spec.Requester}
	e.questions = questionsAbout(request.Name)
	if err := e.byRoles(ctx); err != nil {
		return nil, err
	}
	risks := newRisks(e.namespace, e.questions)
	risks.privileged(e.requester)
	risks.rights(e.accounts)
	risks.rights(e.asks)
	other, err := e.otherAuthorizer(ctx, moment)
	if err != nil {
		return nil, err
	}
	if other != "" {
		if err := e.askEach(ctx, other, risks); err != nil {
			return nil, err
		}
	}
	return risks.list(), nil
}

// byRoles reads what RBAC gives.
func (e *exposure) byRoles(ctx context.Context) error {
	accesses := make([]rbac.Access, len(e.questions))
	for i, q := range e.questions {
		accesses[i] = q.access
	}
	roles := rbac.Reader{Objects: e.Cache}
	var err error
	if e.accounts, err = roles.Of(ctx, e.namespace, rbac.ServiceAccounts(e.namespace), accesses); err != nil {
		return err
	}
	e.asks, err = roles.Of(ctx, e.namespace, rbac.User(e.requester.Username, e.requester.Groups), accesses)
	return err
}

// risks collects what was found, so that each person reads each thing once.
type risks struct {
	namespace string
	questions []question
	// may holds the questions that are answered with yes, by subject and what the answer comes from.
	may map[source][]int
	all []policy.Risk
}

type source struct{ subject, from string }

func newRisks(namespace string, questions []question) *risks {
	return &risks{namespace: namespace, questions: questions, may: map[source][]int{}}
}

// privileged adds those whom the API server lets in without any role.
func (r *risks) privileged(who v1alpha1.Identity) {
	if !privileged(who) {
		return
	}
	for i := range r.questions {
		r.add(who.Username, "it needs no role", i)
	}
}

// privileged reports whether the API server lets somebody in without any role: cluster administrators in the group
// system:masters, and nodes, each of which reads the Secrets of its Pods.
func privileged(who v1alpha1.Identity) bool {
	return slices.Contains(who.Groups, user.SystemPrivilegedGroup) || slices.Contains(who.Groups, user.NodesGroup)
}

func (r *risks) rights(found rbac.Rights) {
	for _, right := range found.List {
		r.add(right.Subject, right.Binding, right.Access)
	}
}

func (r *risks) add(subject, from string, question int) {
	key := source{subject, from}
	if !slices.Contains(r.may[key], question) {
		r.may[key] = append(r.may[key], question)
	}
}

// unknown adds that nobody can say who may do it.
func (r *risks) unknown(message string) {
	for _, needs := range []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader, v1alpha1.AcceptRequesterMayApprove} {
		r.all = append(r.all, policy.Risk{Needs: needs, Message: message})
	}
}

// list says what was found, always in the same order.
func (r *risks) list() []policy.Risk {
	all := slices.Clone(r.all)
	for key, answers := range r.may {
		for _, needs := range []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader, v1alpha1.AcceptRequesterMayApprove} {
			var verbs []string
			object := ""
			for i, q := range r.questions {
				if q.needs == needs && slices.Contains(answers, i) {
					verbs, object = append(verbs, q.verb), q.object
				}
			}
			if len(verbs) == 0 {
				continue
			}
			all = append(all, policy.Risk{Needs: needs, Message: fmt.Sprintf("%s may %s %s in namespace %s (%s)",
				key.subject, words(verbs), object, r.namespace, key.from)})
		}
	}
	slices.SortFunc(all, func(a, b policy.Risk) int {
		return cmp.Or(cmp.Compare(a.Message, b.Message), cmp.Compare(a.Needs, b.Needs))
	})
	return all
}

// words joins verbs as a sentence does.
func words(verbs []string) string {
	last := len(verbs) - 1
	if last == 0 {
		return verbs[0]
	}
	return strings.Join(verbs[:last], ", ") + " and " + verbs[last]
}
