// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/signer"
)

// options are the operator's flags, and the clock it goes by.
type options struct {
	clock               clock.PassiveClock
	watchNamespaces     []string
	namespace           string
	identitiesNamespace string
	httpsProxy          string
	noProxy             []string
	caFile              string
	outbound            outbound.Settings
	awsEndpoints        []string
	awsAudiences        []string
	kubernetesServers   []string
	vaultAddresses      []string
	vaultAudiences      []string
	gcpEndpoints        []string
	gcpAudiences        []string
	githubAPIs          []string
	signerPlaces        []string
	signers             map[string]signer.Signer
	tokenIssuer         string
	tokenSigner         string
	tokenAddress        string
	tokenCertDir        string
	auditFile           string
	auditMaxSizeMB      int
	auditBackups        int
	retention           time.Duration
	jobTimeout          time.Duration
	identityExtraKey    string
	workers             int
	leaderElect         bool
	leaseDuration       time.Duration
	metricsAddress      string
	traceEndpoint       string
	healthAddress       string
	pprofAddress        string
	verbose             bool
}

// watches reports whether requests of a namespace are served.
func (o options) watches(namespace string) bool {
	return len(o.watchNamespaces) == 0 || slices.Contains(o.watchNamespaces, namespace)
}

// parse reads the flags and looks at all of them. Its error tells every problem, a line each.
func parse(args []string) (options, error) {
	o := options{}
	flags := merged(o.groups())
	problems := read(flags, args)
	if errors.Is(problems, pflag.ErrHelp) {
		return o, pflag.ErrHelp
	}
	way, wrongWay := o.makeOutbound(flags.Changed)
	made, wrongSigners := makeSigners(o.signerPlaces)
	o.outbound, o.signers = way, made
	return o, errors.Join(problems, o.validate(flags.Changed), wrongWay, wrongSigners)
}

// parseWhere reads the flags that say where the operator works, of which checks know no others.
func parseWhere(args []string) (options, error) {
	o := options{}
	flags := merged([]group{{flags: o.groups()[0].flags}})
	return o, errors.Join(read(flags, args), o.checkNamespaces())
}

func merged(groups []group) *pflag.FlagSet {
	all := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	all.Usage = func() {} // printed by Run
	for _, g := range groups {
		all.AddFlagSet(g.flags)
	}
	return all
}

// read takes one flag after the other, for the library would stop at the first that it does not understand.
func read(flags *pflag.FlagSet, args []string) error {
	var problems []error
	for len(args) > 0 {
		n := taken(flags, args)
		flag := lookup(flags, args[0])
		if flag != nil && flag.Changed && flag.Value.Type() != repeatable {
			problems = append(problems, fmt.Errorf("--%s: it is given twice: keep one", flag.Name))
		} else if err := flags.Parse(args[:n]); errors.Is(err, pflag.ErrHelp) {
			return err
		} else if err != nil {
			problems = append(problems, explain(flags, args[0], err))
		}
		if flags.NArg() > 0 {
			problems = append(problems, fmt.Errorf("%s: only flags are expected", shown(flags.Arg(0))))
		}
		args = args[n:]
	}
	return errors.Join(problems...)
}

// repeatable is the library's name for the type of a flag that can be given more than once.
const repeatable = "stringArray"

func lookup(flags *pflag.FlagSet, arg string) *pflag.Flag {
	name, long := strings.CutPrefix(arg, "--")
	if !long {
		return nil
	}
	name, _, _ = strings.Cut(name, "=")
	return flags.Lookup(name)
}

// taken is how many arguments the first is made of: a flag without = has its value behind it, and so may one that is unknown.
func taken(flags *pflag.FlagSet, args []string) int {
	flag := lookup(flags, args[0])
	switch {
	case len(args) == 1, !strings.HasPrefix(args[0], "-"), strings.Contains(args[0], "="), flag != nil && flag.NoOptDefVal != "":
		return 1
	case strings.HasPrefix(args[1], "--"), flag == nil && strings.HasPrefix(args[1], "-"):
		return 1
	default:
		return 2
	}
}

// explain says in the operator's own words what the library did not understand.
func explain(flags *pflag.FlagSet, arg string, err error) error {
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid):
		_ = invalid.GetFlag().Value.Set(invalid.GetFlag().DefValue) // so that what the library left there is not another problem
		want := map[string]string{"int": "a whole number", "duration": "a time with its unit, such as 90s, 10m or 168h", "bool": "true or false"}[invalid.GetFlag().Value.Type()]
		return fmt.Errorf("--%s %q: want %s", invalid.GetFlag().Name, invalid.GetValue(), want)
	case errors.As(err, &missing):
		return fmt.Errorf("--%s: want a value", missing.GetSpecifiedName())
	}
	given, _, _ := strings.Cut(arg, "=")
	if meant := nearest(flags, strings.TrimLeft(given, "-")); meant != "" {
		return fmt.Errorf("%s: there is no such flag; did you mean --%s?", given, meant)
	}
	return fmt.Errorf("%s: there is no such flag", given)
}

// nearest is the flag that a misspelt name is most likely to mean; empty when none is near.
func nearest(flags *pflag.FlagSet, name string) string {
	best, least := "", 1+len(name)/3
	flags.VisitAll(func(f *pflag.Flag) {
		if d := distance(name, f.Name); d < least || d == least && best == "" {
			best, least = f.Name, d
		}
	})
	return best
}

// distance is how many letters have to be put in, taken out or changed to make one word of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, diagonal+1, changed)
		}
	}
	return row[len(b)]
}

// printHelp shows the flags in the order in which a person needs them.
func printHelp(to io.Writer) {
	const width = 120
	_, _ = fmt.Fprint(to, "The Valetkey operator.\n\n  manager [flags]\n  manager verify-audit FILE…   verifies an audit log; see manager verify-audit --help\n  manager --version            says what it was built from\n")
	o := options{}
	for _, g := range o.groups() {
		_, _ = fmt.Fprintf(to, "\n%s:\n%s", g.title, g.flags.FlagUsagesWrapped(width))
	}
	_, _ = fmt.Fprint(to, "\ndocs/configuration.md says of each default why it is the safe one.\n")
}
