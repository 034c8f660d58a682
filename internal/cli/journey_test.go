// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// A step that starts as all do is no line of run's: the same command would print more on a slow node. What somebody says of it is.
func TestRun_SaysWhyAStepWaitsOnceSomebodySaysIt(t *testing.T) {
	for reason, said := range map[string]bool{
		v1alpha1.ReasonNoPod: false, v1alpha1.ReasonStarting: false,
		v1alpha1.ReasonUnscheduled: true, v1alpha1.ReasonNotStarted: true,
	} {
		g := aGrant("publish-pr-184")
		var printed bytes.Buffer
		j := newJourney(&shell{IOStreams: genericiooptions.IOStreams{ErrOut: &printed}}, nil, aRequest())
		j.lookAtGrant(g)
		printed.Reset()
		meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionRunning, Status: metav1.ConditionFalse,
			Reason: reason, Message: "words"})
		j.lookAtGrant(g)
		want := ""
		if said {
			want = "runner.wait         " + reason + ": words\n"
		}
		if printed.String() != want {
			t.Errorf("%s: run says %q, want %q", reason, printed.String(), want)
		}
	}
}
