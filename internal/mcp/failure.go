// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/policy"
)

// maxMessage bounds what is passed on in somebody else's words.
const maxMessage = 1200

// failure passes on an error, as a rule the API server's, in its own words, and says what can be done about it.
func failure(err error, what *asked) answer {
	t := told{State: stateFailed, Asked: what, Rule: "the API server", Message: policy.Clip(err.Error(), maxMessage)}
	switch {
	case strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		t.Rule, t.Next = "an admission rule", "do what the rule says, or, where it names an administrator, tell a person"
	case apierrors.IsForbidden(err):
		t.Next = "your account lacks this right; tell a person (ClusterRole valetkey-requester, bound in this namespace)"
	case apierrors.IsUnauthorized(err):
		t.Next = "your kubeconfig is not accepted, its token may have expired; tell a person"
	case apierrors.IsInvalid(err):
		t.Message = policy.Clip(inquiry.InWords(err.Error()), maxMessage)
		t.Next = "mend what the message names, and call again"
	case meta.IsNoMatchError(err):
		t.Rule, t.Next = "this cluster", "Valetkey is not installed here; tell a person"
	case apierrors.ReasonForError(err) == "" && !errors.Is(err, context.Canceled):
		t.Rule, t.Next = "the way to the API server", "try again later; if it stays so, tell a person"
	default:
		t.Next = "try again; if it stays so, tell a person"
	}
	return answer{failed: true, body: t}
}

// absent says that there is no request of a name.
func (s *Server) absent(name string) answer {
	return answer{failed: true, body: told{Name: name, State: stateAbsent, Rule: "no such object",
		Message: fmt.Sprintf("there is no request %s in namespace %s: the name is wrong, or it was withdrawn, or it ended long ago", name, s.namespace),
		Next:    "call status without a name for your requests"}}
}
