package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Plan is what Generate makes; the zero value of a field has a default.
type Plan struct {
	Steps       int // without the settles
	SettleEvery int // 15
	Devices     []string
	// Cover has everything that cover names done once, before the list is left to chance. It takes some 50 steps.
	Cover bool
}

// What pods are. Those that ask for a function do so by the name of a mapping; see pods.go.
const (
	kindRegion   = "region"   // stays, and reads its function for ever
	kindJob      = "job"      // reads for a while and ends
	kindPair     = "pair"     // two functions in one container
	kindEither   = "either"   // asks for a mapping that is changed now and then
	kindPlain    = "plain"    // asks for nothing
	kindStranger = "stranger" // of a namespace without mappings, asks by name
	kindForger   = "forger"   // the same, with the resource's own name and the ids written out
	kindStatic   = "static"   // a forger that neither API server nor webhook have seen: the kubelet has it from a file
)

// Programs. The cluster's own stay dead until they are started; Inlay's are started by the kubelet.
const (
	programHook    = "inlay-hook" // the next one that programs
	programPlugin  = "inlay-deviceplugin"
	programKubelet = "kubelet"
	programRuntime = "runtime"
)

var (
	inlays     = []string{programPlugin, "inlay-nri", "inlay-webhook"}
	components = []string{programKubelet, programRuntime, "kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager"}
)

// allDevices is a fault's device that means each of them.
const allDevices = "all"

// mostPods bounds the pods that are there at once: the machine is small.
const mostPods = 12

// generator draws steps. It knows what is broken, so that nothing is broken twice and all of it is mended some time.
type generator struct {
	r     *rand.Rand
	plan  Plan
	steps []Step
	pods  []drawn
	named int
	bait  bool             // the step before lies in wait for a container that starts
	deck  []func(int) bool // what is still to be covered

	broken map[string]bool // by "action subject"
	due    []due
}

// drawn is a pod that was created and not deleted, as far as the generator knows.
type drawn struct {
	name, kind string
	at         int // the step
}

// takes is how many cards a pod of a kind keeps until it is deleted. A static one is refused, and its card is the
// kubelet's all the same.
func takes(kind string) int {
	switch kind {
	case kindRegion, kindEither, kindStatic:
		return 1
	case kindPair:
		return 2
	}
	return 0
}

// due is a step that mends an earlier one, to be done when so many steps are there.
type due struct {
	at     int
	step   Step
	broken string
}

// Generate draws steps; equal arguments give equal steps. The last one is a settle.
func Generate(seed uint64, p Plan) []Step {
	if p.SettleEvery == 0 {
		p.SettleEvery = 15
	}
	if len(p.Devices) == 0 {
		p.Devices = Devices()
	}
	g := &generator{r: rand.New(rand.NewPCG(seed, 0)), plan: p, broken: map[string]bool{}}
	if p.Cover {
		g.deck = g.cover()
	}
	for n := range p.Steps {
		if n > 0 && n%p.SettleEvery == 0 {
			g.settle()
		}
		g.next(n)
	}
	g.settle()
	return g.steps
}

func (g *generator) settle() {
	g.do(settle)
	clear(g.broken)
	g.due = nil
}

// next draws one step: one that is due, or a new one.
func (g *generator) next(n int) {
	for i, d := range g.due {
		if d.at <= n {
			g.due = slices.Delete(g.due, i, i+1)
			delete(g.broken, d.broken)
			g.do(d.step.Action, d.step.Args...)
			return
		}
	}
	if len(g.pods) < 3 || g.bait { // without pods there is nothing to break
		g.bait = false
		if g.create() || g.delete() {
			return
		}
	}
	if g.deal(n) {
		return
	}
	for !g.draw(n) {
	}
}

// cover is each way to break something that the cluster must survive, in an order that the seed decides.
func (g *generator) cover() []func(int) bool {
	var all []func(int) bool
	add := func(f func(int) bool) { all = append(all, f) }
	for _, name := range inlays {
		add(func(int) bool { g.do("kill", name); return true })
		add(func(n int) bool { return g.freezes(n, name) })
	}
	add(func(int) bool { g.do("kill", programHook); g.lure(); return true })
	add(func(n int) bool { return g.freezes(n, programHook) })
	for _, name := range []string{programKubelet, programRuntime, "kube-apiserver"} {
		add(func(n int) bool { return g.kills(n, name) })
		add(func(n int) bool { return g.freezes(n, name) })
	}
	add(g.socketGone)
	for _, folder := range folders() {
		add(func(n int) bool { return g.fills(n, folder) })
	}
	for _, what := range []string{stateHalf, stateTorn} {
		add(func(n int) bool { return g.makes(n, g.one(functionNames()), what) })
	}
	for _, what := range []string{"dead", "removed"} {
		add(func(n int) bool { return g.sickens(n, g.one(g.plan.Devices), what) })
	}
	add(g.clockJumps)
	add(func(int) bool { g.do("restart"); return true })
	add(func(int) bool { g.do("upgrade"); return true })
	g.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// deal does one step of the deck, three times out of four; false if there is none that can be done now.
func (g *generator) deal(n int) bool {
	if len(g.deck) == 0 || g.r.IntN(4) == 0 {
		return false
	}
	for i, do := range g.deck {
		if do(n) {
			g.deck = slices.Delete(g.deck, i, i+1)
			return true
		}
	}
	return false
}

// draw tries one kind of step, as often as its weight says; false if that cannot be done now.
func (g *generator) draw(n int) bool {
	choices := []struct {
		weight int
		draw   func(int) bool
	}{
		{40, func(int) bool { return g.create() }},
		{20, func(int) bool { return g.delete() }},
		{9, func(int) bool { g.do("kill", g.one(inlays)); return true }},
		{7, func(int) bool { g.do("kill", programHook); g.lure(); return true }},
		{8, g.killComponent},
		{9, g.freeze},
		{2, g.socketGone},
		{4, func(n int) bool { return g.fills(n, g.one(folders())) }},
		{8, func(n int) bool {
			d, what := g.one(g.plan.Devices), g.one(faultNames())
			if strings.HasPrefix(what, "pr-") && g.r.IntN(3) > 0 { // whichever card is programmed next
				d = allDevices
			}
			return g.sickens(n, d, what)
		}},
		{7, func(n int) bool {
			function := g.one(functionNames())
			return g.makes(n, function, g.one(bitstreamStates()))
		}},
		{3, g.clockJumps},
		{4, func(n int) bool {
			m := g.one(mappingNames())
			return g.breaks(n, 6, "unmap "+m, []string{m}, "map", m)
		}},
		{3, func(int) bool { g.do("turn"); return true }},
		{2, func(int) bool { g.do("restart"); return true }},
		{2, func(int) bool { g.do("upgrade"); return true }},
	}
	sum := 0
	for _, c := range choices {
		sum += c.weight
	}
	at := g.r.IntN(sum)
	for _, c := range choices {
		if at -= c.weight; at < 0 {
			return c.draw(n)
		}
	}
	return false
}

// do adds a step, after a pause that is short mostly and now and then long enough for things to take their course.
func (g *generator) do(action string, args ...string) {
	pause := time.Duration(g.r.IntN(8)) * 100 * time.Millisecond
	if g.r.IntN(6) == 0 {
		pause += time.Second
	}
	g.steps = append(g.steps, Step{Pause: pause, Action: action, Args: args})
}

func (g *generator) one(list []string) string { return list[g.r.IntN(len(list))] }

// breaks does what is to be mended within so many steps; false if it is broken already. The first word of what is the action.
func (g *generator) breaks(n, within int, what string, args []string, mend string, mendArgs ...string) bool {
	if g.broken[what] {
		return false
	}
	action := what
	for i := range what {
		if what[i] == ' ' {
			action = what[:i]
			break
		}
	}
	g.do(action, args...)
	g.broken[what] = true
	g.due = append(g.due, due{at: n + 1 + g.r.IntN(within), step: Step{Action: mend, Args: mendArgs}, broken: what})
	return true
}

// lure makes the next step a pod's creation, mostly: what was just broken is met.
func (g *generator) lure() { g.bait = g.r.IntN(4) > 0 }

func (g *generator) killComponent(n int) bool {
	// The kubelet and the runtime matter most, and start fastest.
	return g.kills(n, g.one([]string{
		"kubelet", "kubelet", "kubelet", programRuntime, programRuntime, programRuntime,
		"kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager",
	}))
}

// kills does it to a component, which stays dead until it is started.
func (g *generator) kills(n int, name string) bool {
	if g.broken["freeze "+name] {
		return false
	}
	return g.breaks(n, 3, "kill "+name, []string{name}, "start", name)
}

func (g *generator) freeze(n int) bool {
	return g.freezes(n, g.one([]string{
		"inlay-deviceplugin", "inlay-nri", "inlay-nri", "inlay-webhook", programHook, programHook,
		"kubelet", programRuntime, "kube-apiserver", "etcd",
	}))
}

func (g *generator) freezes(n int, name string) bool {
	if g.broken["kill "+name] {
		return false
	}
	if name == programHook {
		g.lure()
	}
	return g.breaks(n, 3, "freeze "+name, []string{name}, "thaw", name)
}

func (g *generator) socketGone(n int) bool {
	return g.breaks(n, 5, "nri-socket", []string{"gone"}, "nri-socket", "back")
}

func (g *generator) fills(n int, folder string) bool {
	return g.breaks(n, 4, "fill "+folder, []string{folder}, "empty", folder)
}

// sickens gives a device, or all, a fault.
func (g *generator) sickens(n int, device, fault string) bool {
	g.lure()
	return g.breaks(n, 9, "fault "+device, []string{device, fault}, "heal", device)
}

func (g *generator) clockJumps(n int) bool {
	return g.breaks(n, 4, "clock", []string{g.one([]string{"ahead", "behind"})}, "clock", "right")
}

// makes a function's bitstream what is said.
func (g *generator) makes(n int, function, state string) bool {
	if g.broken["bitstream "+function] {
		return false
	}
	g.lure()
	switch state {
	case stateNew, stateRewritten: // as good as before
		g.do("bitstream", function, state)
		return true
	}
	return g.breaks(n, 8, "bitstream "+function, []string{function, state}, "bitstream", function, stateGood)
}

// create draws a pod. Those that stay leave cards for those that come and go: what is interesting happens at a start.
func (g *generator) create() bool {
	g.pods = slices.DeleteFunc(g.pods, func(p drawn) bool { return p.kind == kindJob && len(g.steps)-p.at > jobSteps })
	kind := g.one([]string{
		kindRegion, kindRegion, kindRegion, kindRegion, kindJob, kindJob, kindJob, kindJob, kindJob, kindPair, kindEither,
		kindPlain, kindPlain, kindPlain, kindStranger, kindForger, kindStatic,
	})
	taken := takes(kind)
	for _, p := range g.pods {
		taken += takes(p.kind)
	}
	if taken > len(g.plan.Devices)*3/5 {
		kind = kindJob
	}
	if len(g.pods) >= mostPods {
		return false
	}
	g.named++
	name := fmt.Sprintf("p%d", g.named)
	g.pods = append(g.pods, drawn{name, kind, len(g.steps)})
	g.do("create", name, kind, g.one(functionNames()))
	return true
}

// jobSteps is about how many steps it takes for a job to end.
const jobSteps = 8

func (g *generator) delete() bool {
	if len(g.pods) == 0 {
		return false
	}
	i := g.r.IntN(len(g.pods))
	g.do("delete", g.pods[i].name)
	g.pods = slices.Delete(g.pods, i, i+1)
	return true
}
