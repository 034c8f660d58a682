// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package exposure says who could read a credential without being granted it, or approve the request for it, as far as
// roles and bindings tell. The operator decides by it, and what people and agents ask beforehand tells it in the same
// words.
package exposure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/rbac"
	"github.com/valetkey/valetkey/internal/visible"
)

// Question is an access that must not be had by whoever could use it to read a credential, or to approve the
// request for it.
type Question struct {
	// Needs is what a policy must accept where somebody has the access.
	Needs v1alpha1.Acceptance
	// Access that must not be had.
	Access rbac.Access
	// verb and object say the access to a person.
	verb, object string
}

// About returns what is asked about a request. Approving is asked about by the request's own name: whoever
// asks has chosen it, and a right on one name is as good as on all. The name of a grant's Secret nobody knows
// beforehand, but how it begins, and a role can name it as soon as the grant is there.
//
// Every verb counts that is answered with what is stored, so all but create and update. A patch can copy a value to where the
// API server refuses it, and repeats it in the refusal. A deletion is answered with the object, if a finalizer keeps it, and
// deletecollection with the whole list: one of an old resourceVersion is answered with Secrets that are gone, about whose
// deletion no admission rule is asked any more.
func About(request string) []Question {
	secrets := func(verb, word string) Question {
		return Question{v1alpha1.AcceptSecretReader, rbac.Access{Verb: verb, Resource: "secrets"}, word, "Secrets"}
	}
	named := func(verb, word string) Question {
		q := secrets(verb, word)
		q.Access.Prefix = v1alpha1.NamePrefix
		return q
	}
	approve := rbac.Access{Verb: "approve", Group: v1alpha1.GroupVersion.Group, Resource: "capabilityrequests"}
	approve.Name = request
	reading := func(about func(verb, word string) Question) []Question {
		return []Question{about("get", "read"), about("list", "list"), about("watch", "watch"), about("patch", "patch"),
			about("delete", "delete"), about("deletecollection", "deletecollection")}
	}
	asks := Question{v1alpha1.AcceptRequesterMayApprove, approve, "approve", "requests"}
	return slices.Concat(reading(secrets), []Question{asks}, reading(named))
}

// ByRoles is what RBAC gives to the ServiceAccounts of a namespace, all of them, and to the requester. The reader holds
// all roles and bindings. An error means that it could not be found out.
func ByRoles(
	ctx context.Context, objects client.Reader, namespace string, requester v1alpha1.Identity, questions []Question,
) (accounts, asks rbac.Rights, err error) {
	accesses := make([]rbac.Access, len(questions))
	for i, q := range questions {
		accesses[i] = q.Access
	}
	roles := rbac.Reader{Objects: objects}
	if accounts, err = roles.Of(ctx, namespace, rbac.ServiceAccounts(namespace), accesses); err != nil {
		return accounts, asks, err
	}
	asks, err = roles.Of(ctx, namespace, rbac.User(requester.Username, requester.Groups), accesses)
	return accounts, asks, err
}

// Whole are those of the questions that an authorizer can be asked: it knows names, and not how they begin.
func Whole(questions []Question) []Question {
	return slices.DeleteFunc(slices.Clone(questions), func(q Question) bool { return q.Access.Prefix != "" })
}

// Risks collects what was found, so that each person reads each thing once.
type Risks struct {
	namespace string
	questions []Question
	// may holds the questions that are answered with yes, by subject and what the answer comes from.
	may map[source][]int
	all []policy.Risk
}

// Asked is where an answer comes from that the API server gave, and not a role that was read.
const Asked = "the API server says so"

type source struct{ subject, from string }

// New collects what is found about the questions in a namespace.
func New(namespace string, questions []Question) *Risks {
	return &Risks{namespace: namespace, questions: questions, may: map[source][]int{}}
}

// Privileged adds those whom the API server lets in without any role.
func (r *Risks) Privileged(who v1alpha1.Identity) {
	if !Privileged(who) {
		return
	}
	for i := range r.questions {
		r.Add(visible.Name(who.Username), "it needs no role", i)
	}
}

// Privileged reports whether the API server lets somebody in without any role: cluster administrators in the group
// system:masters, and nodes, each of which reads the Secrets of its Pods.
func Privileged(who v1alpha1.Identity) bool {
	return slices.Contains(who.Groups, user.SystemPrivilegedGroup) || slices.Contains(who.Groups, user.NodesGroup)
}

// Rights adds what RBAC gives, or that there is too much of it to know.
func (r *Risks) Rights(found rbac.Rights) {
	if found.TooMany {
		r.Unknown(fmt.Sprintf("who may read Secrets or approve requests in namespace %s is not known: its bindings and those of the cluster "+
			"have more subjects, and their roles more rules, than the %d that are looked at; remove those that are not used, or use another namespace",
			r.namespace, rbac.MostLooks))
		return
	}
	for _, right := range found.List {
		r.Add(right.Subject, right.Binding, right.Access)
	}
}

// Add adds that the answer to a question, an index into the questions, is yes for somebody, and what it comes from, both as they
// stand in a sentence.
func (r *Risks) Add(subject, from string, question int) {
	key := source{subject, from}
	if !slices.Contains(r.may[key], question) {
		r.may[key] = append(r.may[key], question)
	}
}

// Unknown adds that nobody can say who may do it.
func (r *Risks) Unknown(message string) {
	for _, needs := range []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader, v1alpha1.AcceptRequesterMayApprove} {
		if risk := (policy.Risk{Needs: needs, Message: message}); !slices.Contains(r.all, risk) {
			r.all = append(r.all, risk)
		}
	}
}

// List says what was found, always in the same order.
func (r *Risks) List() []policy.Risk {
	all := slices.Clone(r.all)
	for key, answers := range r.may {
		for _, needs := range []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader, v1alpha1.AcceptRequesterMayApprove} {
			var verbs []string
			object := ""
			for i, q := range r.questions {
				if q.Needs == needs && slices.Contains(answers, i) && !slices.Contains(verbs, q.verb) {
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
