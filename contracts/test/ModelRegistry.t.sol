// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DatanetRegistry} from "../src/DatanetRegistry.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {Base} from "./Base.sol";

contract ModelRegistryTest is Base {
    bytes32 internal constant REVISION = keccak256("manifest");
    bytes32 internal constant INDEX = keccak256("index");
    bytes32 internal constant WEIGHTS = keccak256("weights");
    bytes32 internal constant NET = keccak256("datanets/medical");
    bytes32 internal constant ROOT = keccak256("root");
    address internal constant DEVELOPER = address(0xDE7);

    function setUp() public override {
        super.setUp();
        vm.prank(COMMITTER);
        registry.commitSnapshot(NET, 7, ROOT, 150, "");
    }

    function made() internal pure returns (ModelRegistry.Snapshot[] memory snapshots) {
        snapshots = new ModelRegistry.Snapshot[](1);
        snapshots[0] = ModelRegistry.Snapshot(NET, 7, ROOT);
    }

    function split(uint16 developer, uint16 stakers) internal pure returns (ModelRegistry.Split memory) {
        return ModelRegistry.Split(developer, stakers);
    }

    function register(bytes32 revision) internal {
        vm.prank(COMMITTER);
        models.register(revision, INDEX, WEIGHTS, made(), DEVELOPER, split(2000, 1000), "adapters/a");
    }

    function proposed(uint16 developer, uint16 stakers) internal {
        vm.prank(DEVELOPER);
        models.proposeSplit(REVISION, split(developer, stakers));
    }

    function activate() internal {
        vm.prank(DEVELOPER);
        models.activateSplit(REVISION);
    }

    function same(ModelRegistry.Revision memory a, ModelRegistry.Revision memory b) internal pure {
        eq(keccak256(abi.encode(a)), keccak256(abi.encode(b)));
    }

    function splitIs(uint16 developer, uint16 stakers) internal view {
        ModelRegistry.Revision memory found = models.revisionOf(REVISION);
        eq(found.developerBps, developer);
        eq(found.stakersBps, stakers);
    }

    // --- registering

    function test_registerFixesTheRevision() public {
        vm.expectEmit(true, true, true, true, address(models));
        emit ModelRegistry.RevisionRegistered(
            REVISION, DEVELOPER, WEIGHTS, INDEX, made(), split(2000, 1000), "adapters/a"
        );
        register(REVISION);
        bytes32 committed = keccak256(abi.encode(made()));
        same(
            models.revisionOf(REVISION),
            ModelRegistry.Revision(INDEX, WEIGHTS, committed, DEVELOPER, 2000, 1000, uint64(block.timestamp))
        );
        eq(models.changeOf(REVISION).activeAt, 0);
    }

    function test_unknownRevisionIsZero() public view {
        eq(models.revisionOf(REVISION).developer, address(0));
    }

    function test_onlyTheCommitterRegisters() public {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotCommitter.selector, DEVELOPER));
        vm.prank(DEVELOPER);
        models.register(REVISION, INDEX, WEIGHTS, made(), DEVELOPER, split(2000, 1000), "");
    }

    function test_whatIsMissingIsRefused() public {
        ModelRegistry.Snapshot[] memory none = new ModelRegistry.Snapshot[](0);
        incomplete(0, INDEX, WEIGHTS, made());
        incomplete(REVISION, 0, WEIGHTS, made());
        incomplete(REVISION, INDEX, 0, made());
        incomplete(REVISION, INDEX, WEIGHTS, none);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.ZeroAddress.selector));
        vm.prank(COMMITTER);
        models.register(REVISION, INDEX, WEIGHTS, made(), address(0), split(0, 0), "");
    }

    function incomplete(bytes32 revision, bytes32 index, bytes32 base, ModelRegistry.Snapshot[] memory list) internal {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.Incomplete.selector, revision));
        vm.prank(COMMITTER);
        models.register(revision, index, base, list, DEVELOPER, split(0, 0), "");
    }

    function test_everySnapshotMustBeAnchoredWithThatRoot() public {
        notCommitted(ModelRegistry.Snapshot(NET, 7, keccak256("another")));
        notCommitted(ModelRegistry.Snapshot(NET, 8, ROOT));
        notCommitted(ModelRegistry.Snapshot(NET, 8, 0)); // as an unknown snapshot's is
        notCommitted(ModelRegistry.Snapshot(keccak256("datanets/other"), 7, ROOT));
    }

    function notCommitted(ModelRegistry.Snapshot memory wrong) internal {
        ModelRegistry.Snapshot[] memory list = new ModelRegistry.Snapshot[](2);
        (list[0], list[1]) = (made()[0], wrong);
        vm.expectRevert(
            abi.encodeWithSelector(
                ModelRegistry.SnapshotNotCommitted.selector, wrong.datanetId, wrong.version, wrong.root
            )
        );
        vm.prank(COMMITTER);
        models.register(REVISION, INDEX, WEIGHTS, list, DEVELOPER, split(2000, 1000), "");
    }

    function testFuzz_aRevisionIsRegisteredOnce(bytes32 revision, bytes32 index, address developer) public {
        vm.assume(revision != 0 && index != 0 && developer != address(0));
        register(revision);
        ModelRegistry.Revision memory before = models.revisionOf(revision);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.AlreadyRegistered.selector, revision));
        vm.prank(COMMITTER);
        models.register(revision, index, WEIGHTS, made(), developer, split(0, 0), "");
        same(models.revisionOf(revision), before);
    }

    function testFuzz_contributorsKeepHalf(uint16 developer, uint16 stakers) public {
        bool outOfBounds = uint256(developer) + stakers > 5000;
        bytes memory error = abi.encodeWithSelector(ModelRegistry.SplitOutOfBounds.selector, developer, stakers);
        if (outOfBounds) vm.expectRevert(error);
        vm.prank(COMMITTER);
        models.register(REVISION, INDEX, WEIGHTS, made(), DEVELOPER, split(developer, stakers), "");
        if (outOfBounds) register(REVISION);
        if (outOfBounds) vm.expectRevert(error);
        proposed(developer, stakers);
    }

    // --- the split's change

    function test_aChangeTakesEffectAfterItsDelay() public {
        register(REVISION);
        uint64 activeAt = uint64(block.timestamp) + SPLIT_DELAY;
        vm.expectEmit(true, true, true, true, address(models));
        emit ModelRegistry.SplitProposed(REVISION, split(1000, 500), activeAt);
        proposed(1000, 500);
        eq(models.changeOf(REVISION).activeAt, activeAt);
        splitIs(2000, 1000);

        pass(SPLIT_DELAY - 1);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.TooEarly.selector, activeAt));
        activate();
        pass(1);
        vm.expectEmit(true, true, true, true, address(models));
        emit ModelRegistry.SplitChanged(REVISION, split(1000, 500));
        activate();
        splitIs(1000, 500);

        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NothingProposed.selector, REVISION));
        activate();
    }

    function test_nothingButTheSplitChanges() public {
        register(REVISION);
        ModelRegistry.Revision memory expected = models.revisionOf(REVISION);
        (expected.developerBps, expected.stakersBps) = (5000, 0);
        proposed(5000, 0);
        pass(SPLIT_DELAY);
        activate();
        same(models.revisionOf(REVISION), expected);
    }

    function test_aChangeThatIsNotMadeInTimeLapses() public {
        register(REVISION);
        proposed(1000, 500);
        uint64 until = uint64(block.timestamp) + SPLIT_DELAY + models.GRACE();
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.Lapsed.selector, until));
        activate();
        vm.warp(until - 1);
        activate();
        splitIs(1000, 500);
    }

    function test_anotherProposalBeginsAnew() public {
        register(REVISION);
        proposed(1000, 500);
        pass(SPLIT_DELAY);
        proposed(3000, 500);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.TooEarly.selector, uint64(block.timestamp) + SPLIT_DELAY));
        activate();
        pass(SPLIT_DELAY);
        activate();
        splitIs(3000, 500);
    }

    function test_aChangeIsTakenBack() public {
        register(REVISION);
        proposed(1000, 500);
        vm.expectEmit(true, true, true, true, address(models));
        emit ModelRegistry.SplitCancelled(REVISION);
        vm.prank(DEVELOPER);
        models.cancelSplit(REVISION);
        pass(SPLIT_DELAY);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NothingProposed.selector, REVISION));
        activate();
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NothingProposed.selector, REVISION));
        vm.prank(DEVELOPER);
        models.cancelSplit(REVISION);
    }

    function testFuzz_onlyTheDeveloperChangesTheSplit(address stranger) public {
        vm.assume(stranger != DEVELOPER);
        register(REVISION);
        proposed(1000, 500);
        pass(SPLIT_DELAY);
        bytes memory error = abi.encodeWithSelector(ModelRegistry.NotDeveloper.selector, REVISION, stranger);
        vm.expectRevert(error);
        vm.prank(stranger);
        models.proposeSplit(REVISION, split(0, 0));
        vm.expectRevert(error);
        vm.prank(stranger);
        models.activateSplit(REVISION);
        vm.expectRevert(error);
        vm.prank(stranger);
        models.cancelSplit(REVISION);
        splitIs(2000, 1000);
    }

    function test_anUnknownRevisionHasNoDeveloper() public {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotDeveloper.selector, REVISION, DEVELOPER));
        proposed(1000, 500);
    }

    // --- deploying

    function test_committerRegistryAndDelayAreRequired() public {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.ZeroAddress.selector));
        new ModelRegistry(address(0), registry, 1);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.ZeroAddress.selector));
        new ModelRegistry(COMMITTER, DatanetRegistry(address(0)), 1);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.DelayTooShort.selector, 0, 1));
        new ModelRegistry(COMMITTER, registry, 0);
    }
}
