// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DatanetRegistry} from "../src/DatanetRegistry.sol";
import {IEpochRoots} from "../src/IEpochRoots.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";

/// @dev The few of forge's cheatcodes that these tests use.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function assume(bool condition) external pure;
    function chainId(uint256 id) external;
    function etch(address target, bytes calldata code) external;
    function expectEmit(bool, bool, bool, bool, address emitter) external;
    function expectRevert(bytes calldata reason) external;
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function prank(address sender) external;
    function readFile(string calldata path) external view returns (string memory);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256 gasUsed);
    function store(address target, bytes32 slot, bytes32 value) external;
    function toString(uint256 value) external pure returns (string memory);
    function warp(uint256 timestamp) external;
}

/// @dev Claim trees as `openledger/claims.py` builds them: a node without a sibling moves up unchanged.
library Merkle {
    function parent(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function up(bytes32[] memory level) internal pure returns (bytes32[] memory next) {
        next = new bytes32[]((level.length + 1) / 2);
        for (uint256 i = 0; i < next.length; ++i) {
            next[i] = 2 * i + 1 < level.length ? parent(level[2 * i], level[2 * i + 1]) : level[2 * i];
        }
    }

    function root(bytes32[] memory level) internal pure returns (bytes32) {
        while (level.length > 1) level = up(level);
        return level[0];
    }

    function proof(bytes32[] memory level, uint256 position) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](32); // enough for every tree that fits a test
        uint256 length = 0;
        for (; level.length > 1; position /= 2) {
            if (position ^ 1 < level.length) siblings[length++] = level[position ^ 1];
            level = up(level);
        }
        assembly ("memory-safe") {
            mstore(siblings, length)
        }
    }
}

/// @dev A wallet contract that accepts what it was told to (ERC-1271).
contract Wallet {
    bytes32 private _accepted;

    function accept(bytes32 digest) external {
        _accepted = digest;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == _accepted ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @dev The whole contract set, as deployed, and plain assertions.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    uint128 internal constant OPEN = 1e18;
    uint128 internal constant SUPPLY = 1_000_000 * OPEN;
    uint64 internal constant WINDOW = 1 days;
    uint64 internal constant VERDICT = 7 days;
    uint128 internal constant BOND = 100 * OPEN;
    uint64 internal constant DELAY = 2 days;
    uint64 internal constant SPLIT_DELAY = 7 days;

    address internal constant TREASURY = address(0x7EA5);
    address internal constant PROPOSER = address(0x9209);
    address internal constant GUARDIAN = address(0x6A2D);
    address internal constant ARBITER = address(0xA4B1);
    address internal constant OPERATOR = address(0x09E2);
    address internal constant COMMITTER = address(0xC033);

    OpenToken internal token;
    RewardsDistributor internal distributor;
    InferenceEscrow internal escrow;
    DatanetRegistry internal registry;
    ModelRegistry internal models;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        token = new OpenToken(TREASURY, SUPPLY, 10 * SUPPLY);
        distributor = new RewardsDistributor(token, terms());
        escrow = new InferenceEscrow(token, distributor, OPERATOR, DELAY);
        registry = new DatanetRegistry(COMMITTER);
        models = new ModelRegistry(COMMITTER, registry, SPLIT_DELAY);
    }

    function terms() internal pure returns (IEpochRoots.Terms memory) {
        return IEpochRoots.Terms({
            proposer: PROPOSER,
            guardian: GUARDIAN,
            arbiter: ARBITER,
            challengeWindow: WINDOW,
            verdictWindow: VERDICT,
            challengeBond: BOND,
            maxEpochIncrease: SUPPLY
        });
    }

    function give(address to, uint128 amount) internal {
        vm.prank(TREASURY);
        token.transfer(to, amount);
    }

    function fund(uint128 amount) internal {
        vm.prank(TREASURY);
        token.approve(address(distributor), amount);
        vm.prank(TREASURY);
        distributor.fund(amount);
    }

    function propose(uint64 epoch, bytes32 root, uint128 total) internal {
        vm.prank(PROPOSER);
        distributor.proposeRoot(epoch, root, keccak256("log"), total, 1, "");
    }

    /// @dev What the distributor says an account may sign, by a key.
    function signedClaim(uint256 key, address to, uint128 cumulative, uint128 maxFee, bytes32[] memory proof)
        internal
        view
        returns (RewardsDistributor.SignedClaim memory)
    {
        address account = vm.addr(key);
        uint64 deadline = uint64(block.timestamp) + 30 days;
        bytes32 digest = distributor.claimDigest(account, to, cumulative, maxFee, deadline);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        bytes memory signature = abi.encodePacked(r, s, v);
        return RewardsDistributor.SignedClaim(account, to, cumulative, maxFee, deadline, proof, signature);
    }

    function pass(uint256 duration) internal {
        vm.warp(block.timestamp + duration);
    }

    /// @dev The message is made only where it is needed: invariants compare millions of times.
    function eq(uint256 a, uint256 b) internal pure {
        if (a != b) revert(string.concat(vm.toString(a), " != ", vm.toString(b)));
    }

    function eq(bytes32 a, bytes32 b) internal pure {
        eq(uint256(a), uint256(b));
    }

    function eq(address a, address b) internal pure {
        eq(uint256(uint160(a)), uint256(uint160(b)));
    }
}
