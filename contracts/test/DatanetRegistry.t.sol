// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DatanetRegistry} from "../src/DatanetRegistry.sol";
import {Base} from "./Base.sol";

contract DatanetRegistryTest is Base {
    bytes32 internal constant NET = keccak256("datanets/medical");
    bytes32 internal constant ROOT = keccak256("root");

    function test_commitFixesTheSnapshot() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit DatanetRegistry.SnapshotCommitted(NET, 7, ROOT, 150, "sha256:00");
        vm.prank(COMMITTER);
        registry.commitSnapshot(NET, 7, ROOT, 150, "sha256:00");
        DatanetRegistry.Snapshot memory snapshot = registry.snapshotOf(NET, 7);
        eq(snapshot.root, ROOT);
        eq(snapshot.records, 150);
        eq(snapshot.committedAt, block.timestamp);
    }

    function test_unknownSnapshotIsZero() public view {
        eq(registry.snapshotOf(NET, 1).root, bytes32(0));
    }

    function test_onlyTheCommitterCommits() public {
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.NotCommitter.selector, address(this)));
        registry.commitSnapshot(NET, 1, ROOT, 1, "");
    }

    function test_emptySnapshotsAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.EmptySnapshot.selector, NET, 1));
        vm.prank(COMMITTER);
        registry.commitSnapshot(NET, 1, bytes32(0), 1, "");
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.EmptySnapshot.selector, NET, 1));
        vm.prank(COMMITTER);
        registry.commitSnapshot(NET, 1, ROOT, 0, "");
    }

    function testFuzz_aSnapshotNeverChanges(bytes32 net, uint64 version, bytes32 root, bytes32 other) public {
        vm.assume(root != bytes32(0));
        vm.prank(COMMITTER);
        registry.commitSnapshot(net, version, root, 1, "");
        vm.expectRevert(
            other == bytes32(0)
                ? abi.encodeWithSelector(DatanetRegistry.EmptySnapshot.selector, net, version)
                : abi.encodeWithSelector(DatanetRegistry.AlreadyCommitted.selector, net, version, root)
        );
        vm.prank(COMMITTER);
        registry.commitSnapshot(net, version, other, 2, "");
        eq(registry.snapshotOf(net, version).root, root);
        eq(registry.snapshotOf(net, version).records, 1);
    }

    function test_committerIsRequired() public {
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.ZeroAddress.selector));
        new DatanetRegistry(address(0));
    }
}
