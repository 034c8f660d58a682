// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || e2e

package localcluster

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestATokenOfTheClusterBuysACredentialThatIsHeldToItsPolicy(t *testing.T) {
	c := startCluster(t, Options{AWS: true, Fast: true})
	client := clientFor(t, c.AdminConfig())
	createNamespace(t, client, "identities")
	createServiceAccount(t, client, "identities", "publisher")
	createServiceAccount(t, client, "identities", "other")

	a := c.AWS()
	role, err := a.EnsureRole(t.Context(), RoleSpec{Name: "deployer", Namespace: "identities", ServiceAccount: "publisher"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.EnsureRole(t.Context(), RoleSpec{Name: "deployer", Namespace: "identities", ServiceAccount: "publisher"})
	if err != nil || again != role {
		t.Fatalf("ensuring a role again: got %s, %v; want %s", again, err, role)
	}
	for range 2 {
		if err := a.EnsureBucket(t.Context(), "previews"); err != nil {
			t.Fatal(err)
		}
	}

	session, err := assume(t.Context(), a, role, tokenOf(t, client, "identities", "publisher", "sts.amazonaws.com"))
	if err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), session, "web-app/index.html"); err != nil {
		t.Errorf("inside the prefix: %v", err)
	}
	if err := put(t.Context(), session, "another-app/index.html"); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("outside the prefix: got %v, want AccessDenied", err)
	}
	if _, err := assume(t.Context(), a, role, tokenOf(t, client, "identities", "other", "sts.amazonaws.com")); err == nil {
		t.Error("another ServiceAccount assumed the role")
	}
	if _, err := assume(t.Context(), a, role, tokenOf(t, client, "identities", "publisher", "somebody.else")); err == nil {
		t.Error("a token for another audience was accepted")
	}
}

func TestACertificateMakesItsHolderWhoItSays(t *testing.T) {
	c := startCluster(t, Options{Fast: true})
	config, err := c.UserConfig("alice@example.com", "humans")
	if err != nil {
		t.Fatal(err)
	}
	review, err := clientFor(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if u := review.Status.UserInfo; u.Username != "alice@example.com" || !slices.Contains(u.Groups, "humans") {
		t.Errorf("got %s in %v", u.Username, u.Groups)
	}

	kubeconfig, err := c.Kubeconfig("bob@example.com", "humans")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(c.Kubectl(), "--kubeconfig", kubeconfig, "auth", "whoami").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "bob@example.com") {
		t.Errorf("kubectl auth whoami: %v\n%s", err, out)
	}
}

func TestAClusterSurvivesTheFailureOfItsPrograms(t *testing.T) {
	c := startCluster(t, Options{Fast: true})
	client := clientFor(t, c.AdminConfig())
	createNamespace(t, client, "before")

	if err := c.StopProgram(apiServer); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "before", metav1.GetOptions{}); err == nil {
		t.Error("the API server answers though it was stopped")
	}
	if err := c.Signal(etcd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.supervisor.Wait(etcd); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{etcd, apiServer} {
		if err := c.StartProgram(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "before", metav1.GetOptions{}); err != nil {
		t.Errorf("what was stored before is lost: %v", err)
	}
}

func TestClustersRunSideBySide(t *testing.T) {
	var wg sync.WaitGroup
	clusters := make([]*Cluster, 2)
	for i := range clusters {
		wg.Go(func() {
			c, err := Start(t.Context(), Options{Fast: true})
			if err != nil {
				t.Error(err)
				return
			}
			clusters[i] = c
		})
	}
	wg.Wait()
	for _, c := range clusters {
		if c != nil {
			t.Cleanup(func() { stopAndExpectNothingLeft(t, c) })
		}
	}
	if t.Failed() {
		return
	}
	createNamespace(t, clientFor(t, clusters[0].AdminConfig()), "only-in-the-first")
	_, err := clientFor(t, clusters[1].AdminConfig()).CoreV1().Namespaces().Get(t.Context(), "only-in-the-first", metav1.GetOptions{})
	if err == nil {
		t.Error("the clusters share their data")
	}
	if _, err := Start(t.Context(), Options{Name: clusters[0].Name(), Fast: true}); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a name was given twice: %v", err)
	}
}

func TestADetachedClusterIsOpenedAndRemovedByName(t *testing.T) {
	c, err := Start(t.Context(), Options{Name: fmt.Sprintf("detached-%d", os.Getpid()), Fast: true, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	traces := tracesOf(t, c)
	_ = c.leash.release() // what the end of this process would do

	opened, err := Open(c.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := opened.WaitReady(t.Context()); err != nil {
		t.Errorf("the cluster did not outlive its owner: %v", err)
	}
	if found, err := Remove(t.Context(), c.Name()); err != nil || !found {
		t.Fatalf("remove: found %t, %v", found, err)
	}
	traces.expectGone(t)
	if found, err := Remove(t.Context(), c.Name()); err != nil || found {
		t.Errorf("remove again: found %t, %v; want nothing to do", found, err)
	}
}

const ownerVariable = "VALETKEY_TEST_CLUSTER_OWNER"

// TestMain runs the tests or, where a test asked for it, the process that it is going to kill.
func TestMain(m *testing.M) {
	name := os.Getenv(ownerVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	if _, err := Start(context.Background(), Options{Name: name, Node: withNode, Fast: true}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	select {}
}

func TestAClusterDiesWithItsOwner(t *testing.T) {
	name := fmt.Sprintf("orphan-%d", os.Getpid())
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"="+name)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "started" {
		t.Log(lines.Text())
	}
	orphan, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	traces := tracesOf(t, orphan)

	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	err = eventually(t.Context(), 30*time.Second, func(context.Context) error {
		if orphan.rec.Supervisor.alive() {
			return fmt.Errorf("the cluster still runs")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// The next cluster clears up what no process was left to remove.
	startCluster(t, Options{Fast: true})
	traces.expectGone(t)
}

// startCluster starts a cluster that is stopped, without a trace, when the test ends.
func startCluster(t *testing.T, o Options) *Cluster {
	t.Helper()
	var progress bytes.Buffer
	o.Progress = &progress
	start := time.Now()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	t.Logf("started in %s", time.Since(start).Round(10*time.Millisecond))
	t.Cleanup(func() { stopAndExpectNothingLeft(t, c) })
	return c
}

func stopAndExpectNothingLeft(t *testing.T, c *Cluster) {
	t.Helper()
	traces := tracesOf(t, c)
	start := time.Now()
	if err := c.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %s", time.Since(start).Round(10*time.Millisecond))
	traces.expectGone(t)
}

// traces is all by which a cluster can be found on the machine.
type traces struct {
	processes []process
	link      string
	alias     string
	cgroups   []string
	paths     []string
}

func tracesOf(t *testing.T, c *Cluster) traces {
	t.Helper()
	found := traces{
		processes: descendants(t, c.rec.Supervisor.PID),
		link:      filepath.Join("/sys/class/net", c.rec.Slot.link(), "ifalias"),
		alias:     c.rec.linkAlias(),
		paths:     []string{c.StateDir(), c.rec.file()},
	}
	if len(found.processes) < 4 {
		t.Errorf("only %d processes of the cluster are found; want the supervisor and all programs", len(found.processes))
	}
	dirs, err := cgroupHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		found.cgroups = append(found.cgroups, filepath.Join(dir, cgroupRoot(c.Name())))
	}
	return found
}

func (f traces) expectGone(t *testing.T) {
	t.Helper()
	for _, p := range f.processes {
		if p.alive() {
			t.Errorf("process %d is left", p.PID)
		}
	}
	if alias, err := os.ReadFile(f.link); err == nil && strings.TrimSpace(string(alias)) == f.alias {
		t.Errorf("the network device is left: %s", f.link)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Concat(f.cgroups, f.paths) {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("left behind: %s", path)
		}
		if bytes.Contains(mounts, []byte(" "+path)) {
			t.Errorf("a mount is left below %s", path)
		}
	}
}

// descendants returns a process and all below it: orphans in a PID namespace fall to its first process.
func descendants(t *testing.T, pid int) []process {
	t.Helper()
	p, err := processOf(pid)
	if err != nil {
		return nil // it has ended since its parent was asked
	}
	all := []process{p}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(children)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, descendants(t, child)...)
		}
	}
	return all
}

func clientFor(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func createNamespace(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func createServiceAccount(t *testing.T, client kubernetes.Interface, namespace, name string) {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), sa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func tokenOf(t *testing.T, client kubernetes.Interface, namespace, name, audience string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// assume exchanges a token for a session that may write below web-app/ alone.
func assume(ctx context.Context, a *AWS, role, token string) (*s3.Client, error) {
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::previews/web-app/*"]}]}`
	out, err := a.STS().AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &role, RoleSessionName: aws.String("lease-" + strconv.Itoa(os.Getpid())),
		WebIdentityToken: &token, DurationSeconds: aws.Int32(900), Policy: &policy,
	})
	if err != nil {
		return nil, err
	}
	k := out.Credentials
	return a.S3As(credentials.NewStaticCredentialsProvider(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken)), nil
}

func put(ctx context.Context, client *s3.Client, key string) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("previews"), Key: &key, Body: strings.NewReader("hello")})
	return err
}
