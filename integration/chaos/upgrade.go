package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/integration/cluster"
)

// NextVersion is the tag of the images that upgrades go to and come back from.
const NextVersion = "next"

// UpgradeOptions are what Upgrade needs; all but Cluster's runtime and BackLimit are a must.
type UpgradeOptions struct {
	Cluster        cluster.Options
	Next           string // folder of images of another version
	Pods, Rollouts int
	Log            io.Writer
	Name           string // of the folder for logs, if a promise was broken
	// BackLimit is how late the devices may be back before that is a violation; 0 is the bound of 2 s that the verdict
	// has. A test on a machine that is busy gives it more; the report's verdict stays.
	BackLimit time.Duration
}

// Rollout is what one roll-out of the DaemonSet did to what the Node offers.
//
// The kubelet offers no device of a plugin that it is not connected to. So there is a time without, from the end of the
// old pod (there are never two of a node) to the registration of the new one.
type Rollout struct {
	To string // version
	// Gone is how long the kubelet offered less than all devices, NodeGone how long the Node's status said so.
	Gone, NodeGone time.Duration
	// Back is the time from the start of the new inlay-deviceplugin, the process, until the kubelet offered all again;
	// NodeBack until the Node's status said so, which the kubelet writes once a second.
	Back, NodeBack time.Duration
	// Ready is the time from that start until the DaemonSet's pod was ready.
	Ready time.Duration
}

// Upgraded is what came of an upgrade under load.
type Upgraded struct {
	Pods       int
	Rollouts   []Rollout
	Readings   int
	LongestGap time.Duration // between two readings of one container
	Violations []Violation
	Took       time.Duration
}

// backLimit is how long less than all devices may be offered: by the kubelet after the start of the new device plugin,
// and in the Node's status, of which a part is the kubelet's own time, after the end of the roll-out.
const backLimit = 2 * time.Second

// late says whether the devices were back too late for a bound.
func (r Rollout) late(limit time.Duration) bool {
	return r.Back > limit || r.NodeBack > r.Ready+limit
}

// rolloutLimit bounds one roll-out, on a machine that is busy.
const rolloutLimit = 3 * time.Minute

// Upgrade runs pods with an FPGA each and rolls the DaemonSet out again and again, to another version and back. No
// container may be started again or lose its device; the promises of chaos hold as well.
func Upgrade(ctx context.Context, o UpgradeOptions) (*Upgraded, error) {
	began := time.Now()
	options := withDefaults(o.Cluster)
	options.Cards = slices.Repeat([]string{"dfl:ports=1"}, o.Pods)
	c, err := cluster.New(ctx, options)
	if err != nil {
		return &Upgraded{}, err
	}
	s, err := open(ctx, c, o.Log)
	if err != nil {
		return &Upgraded{}, errors.Join(err, c.Close())
	}
	u := &upgrade{Scene: s, backLimit: cmp.Or(o.BackLimit, backLimit), result: &Upgraded{Pods: o.Pods}}
	err = u.run(ctx, o)
	u.result.Violations, u.result.Readings, u.result.Took = s.report.Violations, s.report.Readings, time.Since(began)
	if err != nil || len(s.report.Violations) > 0 {
		s.say("%s", c.KeepLogs(o.Name))
	}
	return u.result, errors.Join(err, c.Close())
}

// upgrade is one run of Upgrade.
type upgrade struct {
	*Scene
	backLimit time.Duration
	result    *Upgraded
}

func (u *upgrade) run(ctx context.Context, o UpgradeOptions) error {
	if err := u.install(ctx, Options{Next: o.Next}); err != nil {
		return err
	}
	looking, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer func() { stop(); tasks.Wait() }()
	tasks.Go(func() { u.keepLooking(looking) })
	for i := range o.Pods {
		names := functionNames()
		if err := u.create(ctx, fmt.Sprintf("u%d", i), kindRegion, names[i%len(names)]); err != nil {
			return err
		}
	}
	if err := u.settle(ctx); err != nil || u.report.notWell {
		return errors.Join(err, errors.New("before the first roll-out not all pods ran"))
	}
	before, err := u.c.Holders(ctx)
	if err != nil {
		return err
	}
	kubelet, node := &offer{all: len(u.cards)}, &offer{all: len(u.cards)}
	tasks.Go(func() { kubelet.follow(looking, u.ofKubelet) })
	tasks.Go(func() { node.follow(looking, u.ofNode) })
	for n := range o.Rollouts {
		u.mu.Lock()
		u.step = n + 1
		u.mu.Unlock()
		r, err := u.rollOut(ctx, kubelet, node)
		if err != nil {
			return fmt.Errorf("roll-out %d: %w", n+1, err)
		}
		u.result.Rollouts = append(u.result.Rollouts, r)
		u.say("roll-out %d to %s: the kubelet without all devices for %.2f s, back %.2f s after the new plugin's start", n+1, r.To, r.Gone.Seconds(), r.Back.Seconds())
	}
	return u.compare(ctx, before)
}

// ofKubelet and ofNode are how many devices are offered now.
func (u *upgrade) ofKubelet(ctx context.Context) (int, error) {
	devices, err := u.c.Devices(ctx, regionResource)
	return len(devices), err
}

func (u *upgrade) ofNode(ctx context.Context) (int, error) {
	n, err := u.c.Allocatable(ctx, regionResource)
	return int(n), err
}

// rollOut changes the version and waits until the DaemonSet has followed and all devices are offered again.
func (u *upgrade) rollOut(ctx context.Context, kubelet, node *offer) (Rollout, error) {
	ctx, cancel := context.WithTimeout(ctx, rolloutLimit)
	defer cancel()
	kubelet.begin()
	node.begin()
	old, err := u.c.OneProgram(ctx, "inlay-deviceplugin")
	if err != nil {
		return Rollout{}, err
	}
	if err := u.upgrade(ctx); err != nil {
		return Rollout{}, err
	}
	r := Rollout{To: u.version}
	var ready time.Duration
	err = u.c.Await(ctx, rolloutLimit, "the roll-out", func(ctx context.Context) error {
		not, err := u.notReady(ctx)
		if err != nil || len(not) > 0 {
			return errors.Join(err, fmt.Errorf("%q", not))
		}
		ready = sinceBoot()
		return nil
	})
	if err != nil {
		return r, err
	}
	fresh, err := u.c.OneProgram(ctx, "inlay-deviceplugin")
	if err != nil {
		return r, err
	}
	since, ok := startOf(fresh.Pid)
	if !ok || fresh.Pid == old.Pid {
		return r, fmt.Errorf("inlay-deviceplugin is process %d, as before", fresh.Pid)
	}
	err = u.c.Await(ctx, rolloutLimit, "all devices", func(context.Context) error { return errors.Join(kubelet.whole(), node.whole()) })
	if err != nil {
		return r, err
	}
	r.Ready = ready - since
	r.Gone, r.Back = kubelet.gap(since)
	r.NodeGone, r.NodeBack = node.gap(since)
	if r.late(u.backLimit) {
		u.mu.Lock()
		u.violated("nothing-lost", fmt.Sprintf("roll-out %d: the devices were back too late: %+v", u.step, r))
		u.mu.Unlock()
	}
	return r, nil
}

// compare looks for pods that are not what they were before the first roll-out.
func (u *upgrade) compare(ctx context.Context, before []cluster.Holder) error {
	u.look(ctx)
	after, err := u.c.Holders(ctx)
	if err != nil {
		return err
	}
	list, err := u.c.Client().CoreV1().Pods(team).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	had, has := devicesOf(before), devicesOf(after)
	for i := range list.Items {
		pod := &list.Items[i]
		if err := cluster.Running(pod); err != nil {
			u.violated("nothing-disturbed", fmt.Sprintf("pod %s after the roll-outs: %v", pod.Name, err))
			continue
		}
		if n := pod.Status.ContainerStatuses[0].RestartCount; n != 0 || len(u.watch.began[pod.Name]) != 1 {
			u.violated("nothing-disturbed", fmt.Sprintf("pod %s: %d restarts, containers began at %v", pod.Name, n, u.watch.began[pod.Name]))
		}
		if had[pod.Name] == "" || had[pod.Name] != has[pod.Name] {
			u.violated("nothing-lost", fmt.Sprintf("pod %s had %q and has %q", pod.Name, had[pod.Name], has[pod.Name]))
		}
		if last := sinceBoot() - u.watch.last[pod.Name]; last > quiet {
			u.violated("nothing-disturbed", fmt.Sprintf("pod %s has said nothing for %v", pod.Name, last))
		}
	}
	if len(list.Items) != u.result.Pods {
		u.violated("nothing-disturbed", fmt.Sprintf("%d pods, there were %d", len(list.Items), u.result.Pods))
	}
	u.result.LongestGap = u.watch.gap
	return nil
}

// quiet is how long a container may take for a reading, on a machine that is busy.
const quiet = 10 * time.Second

func devicesOf(holders []cluster.Holder) map[string]string {
	of := map[string]string{}
	for _, h := range holders {
		if h.Namespace == team {
			of[h.Pod] += fmt.Sprint(h.Devices)
		}
	}
	return of
}

// offer follows how many devices somebody offers.
type offer struct {
	all int

	mu         sync.Mutex
	now        int
	less, back time.Duration // since when less than all, and since when all again; 0 = not
}

// offerEvery is how exact an offer's times are.
const offerEvery = 20 * time.Millisecond

func (o *offer) follow(ctx context.Context, ask func(context.Context) (int, error)) {
	tick := time.NewTicker(offerEvery)
	defer tick.Stop()
	for {
		if n, err := ask(ctx); err == nil { // who does not answer has said what he has said
			o.note(n, sinceBoot())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (o *offer) note(n int, at time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.now = n; {
	case n < o.all && o.less == 0:
		o.less = at
	case n < o.all:
		o.back = 0
	case o.less != 0 && o.back == 0:
		o.back = at
	}
}

// begin forgets what was.
func (o *offer) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.less, o.back = 0, 0
}

func (o *offer) whole() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now != o.all {
		return fmt.Errorf("%d of %d devices", o.now, o.all)
	}
	return nil
}

// gap is how long less than all was offered, and until how long after since.
func (o *offer) gap(since time.Duration) (gone, back time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.less == 0 || o.back == 0 {
		return 0, 0
	}
	return o.back - o.less, max(o.back-since, 0)
}
