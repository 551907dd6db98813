// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DatanetRegistry} from "../src/DatanetRegistry.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {Base, Vm} from "./Base.sol";

/// @dev Anchors, registers and changes splits in any order, and keeps what each revision must look like.
contract Publishers {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    uint256 public constant REVISIONS = 6;
    bytes32 internal constant NET = keccak256("datanets/medical");

    DatanetRegistry internal immutable registry;
    ModelRegistry internal immutable models;
    address internal immutable committer;

    mapping(bytes32 => ModelRegistry.Revision) internal fixedAs;
    mapping(bytes32 => ModelRegistry.Split) internal proposal;
    mapping(bytes32 => uint64) public proposedAt;
    mapping(bytes32 => uint256) public registered;
    bool public tooSoon;
    uint64 internal versions;

    constructor(DatanetRegistry r, ModelRegistry m, address c) {
        (registry, models, committer) = (r, m, c);
    }

    function revisionAt(uint256 i) public pure returns (bytes32) {
        return keccak256(abi.encode("revision", i % REVISIONS));
    }

    function developerOf(uint256 i) internal pure returns (address) {
        return address(uint160(0xDE00 + i % REVISIONS));
    }

    function pass(uint32 duration) external {
        vm.warp(block.timestamp + duration % 5 days);
    }

    function anchor(bytes32 root) external {
        if (root == 0) return;
        vm.prank(committer);
        registry.commitSnapshot(NET, ++versions, root, 1, "");
    }

    /// Of a snapshot that may be anchored or not, by whoever it is.
    function register(uint256 i, uint64 version, uint16 developer, uint16 stakers, bool byCommitter) external {
        bytes32 revision = revisionAt(i);
        ModelRegistry.Snapshot[] memory list = new ModelRegistry.Snapshot[](1);
        version = 1 + version % (versions + 2);
        bytes32 root = registry.snapshotOf(NET, version).root;
        list[0] = ModelRegistry.Snapshot(NET, version, root);
        ModelRegistry.Split memory split = ModelRegistry.Split(developer % 6000, stakers % 3000);
        vm.prank(byCommitter ? committer : developerOf(i));
        try models.register(revision, keccak256("i"), keccak256("b"), list, developerOf(i), split, "") {
            ++registered[revision];
            require(root != 0, "registered what is not anchored");
            fixedAs[revision] = models.revisionOf(revision);
        } catch {}
    }

    function propose(uint256 i, uint16 developer, uint16 stakers, uint256 by) external {
        bytes32 revision = revisionAt(i);
        ModelRegistry.Split memory split = ModelRegistry.Split(developer % 6000, stakers % 3000);
        vm.prank(developerOf(by % 2 == 0 ? i : by));
        try models.proposeSplit(revision, split) {
            (proposal[revision], proposedAt[revision]) = (split, uint64(block.timestamp));
        } catch {}
    }

    function cancel(uint256 i, uint256 by) external {
        vm.prank(developerOf(by % 2 == 0 ? i : by));
        try models.cancelSplit(revisionAt(i)) {
            proposedAt[revisionAt(i)] = 0;
        } catch {}
    }

    function activate(uint256 i, uint256 by) external {
        bytes32 revision = revisionAt(i);
        vm.prank(developerOf(by % 2 == 0 ? i : by));
        try models.activateSplit(revision) {
            uint64 at = proposedAt[revision];
            tooSoon = tooSoon || at == 0 || block.timestamp < at + models.splitDelay();
            proposedAt[revision] = 0;
            fixedAs[revision].developerBps = proposal[revision].developerBps;
            fixedAs[revision].stakersBps = proposal[revision].stakersBps;
        } catch {}
    }

    function expected(bytes32 revision) external view returns (ModelRegistry.Revision memory) {
        return fixedAs[revision];
    }
}

contract ModelInvariantsTest is Base {
    Publishers internal publishers;

    function setUp() public override {
        super.setUp();
        publishers = new Publishers(registry, models, COMMITTER);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(publishers);
    }

    /// One invariant, so that one campaign looks at all of it after every call.
    function invariant_onlyAnnouncedChangesAreMade() public view {
        aRevisionIsWhatItWasButForAnnouncedChanges();
        contributorsKeepHalf();
        whatIsAnnouncedIsOfARegisteredRevision();
    }

    function aRevisionIsWhatItWasButForAnnouncedChanges() internal view {
        require(!publishers.tooSoon(), "a change that was not announced in time");
        for (uint256 i = 0; i < publishers.REVISIONS(); ++i) {
            bytes32 revision = publishers.revisionAt(i);
            require(publishers.registered(revision) <= 1, "registered twice");
            eq(keccak256(abi.encode(models.revisionOf(revision))), keccak256(abi.encode(publishers.expected(revision))));
        }
    }

    function contributorsKeepHalf() internal view {
        for (uint256 i = 0; i < publishers.REVISIONS(); ++i) {
            ModelRegistry.Revision memory found = models.revisionOf(publishers.revisionAt(i));
            require(uint256(found.developerBps) + found.stakersBps <= 5000, "contributors get too little");
        }
    }

    function whatIsAnnouncedIsOfARegisteredRevision() internal view {
        for (uint256 i = 0; i < publishers.REVISIONS(); ++i) {
            bytes32 revision = publishers.revisionAt(i);
            uint64 at = publishers.proposedAt(revision);
            eq(models.changeOf(revision).activeAt, at == 0 ? 0 : at + SPLIT_DELAY);
            require(at == 0 || publishers.registered(revision) == 1, "announced for nothing");
        }
    }
}
