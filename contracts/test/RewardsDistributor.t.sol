// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IEpochRoots} from "../src/IEpochRoots.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle} from "./Base.sol";

contract RewardsDistributorTest is Base {
    address internal constant ALICE = address(0xA11CE);
    address internal constant BOB = address(0xB0B);

    /// @dev A root over two accounts, and the proof of each.
    function pair(uint128 a, uint128 b)
        internal
        view
        returns (bytes32 root, bytes32[] memory proofA, bytes32[] memory proofB)
    {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = distributor.leafOf(ALICE, a);
        leaves[1] = distributor.leafOf(BOB, b);
        return (Merkle.root(leaves), Merkle.proof(leaves, 0), Merkle.proof(leaves, 1));
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    // --- deployment and funding

    function made(IEpochRoots.Terms memory t, bytes memory reason) internal {
        refuse(reason);
        new RewardsDistributor(token, t);
    }

    function test_rolesWindowsBondAndCapAreRequired() public {
        bytes memory nobody = abi.encodeWithSelector(IEpochRoots.ZeroAddress.selector);
        refuse(nobody);
        new RewardsDistributor(IERC20(address(0)), terms());
        IEpochRoots.Terms memory t = terms();
        (t.proposer, t.guardian) = (address(0), GUARDIAN);
        made(t, nobody);
        (t.proposer, t.guardian) = (PROPOSER, address(0));
        made(t, nobody);
        (t.guardian, t.arbiter) = (GUARDIAN, address(0));
        made(t, nobody);
        (t.arbiter, t.challengeWindow) = (ARBITER, 0);
        made(t, abi.encodeWithSelector(IEpochRoots.WindowTooShort.selector, 0, 1));
        (t.challengeWindow, t.verdictWindow) = (1, 0);
        made(t, abi.encodeWithSelector(IEpochRoots.WindowTooShort.selector, 0, 1));
        (t.verdictWindow, t.challengeBond) = (1, 0);
        made(t, abi.encodeWithSelector(IEpochRoots.ZeroAmount.selector));
        (t.challengeBond, t.maxEpochIncrease) = (1, 0);
        made(t, abi.encodeWithSelector(IEpochRoots.ZeroAmount.selector));
        t.maxEpochIncrease = 1;
        eq(new RewardsDistributor(token, t).maxEpochIncrease(), 1);
    }

    function test_fundingCountsWhatArrived() public {
        fund(5);
        fund(7);
        eq(distributor.funded(), 12);
        eq(token.balanceOf(address(distributor)), 12);
    }

    // --- proposing

    function test_onlyTheProposerProposes() public {
        refuse(abi.encodeWithSelector(IEpochRoots.NotProposer.selector, address(this)));
        distributor.proposeRoot(1, keccak256("r"), 0, 0, 0, "");
    }

    function test_epochsAreSequential() public {
        refuse(abi.encodeWithSelector(IEpochRoots.EpochOutOfOrder.selector, 1, 2));
        propose(2, keccak256("r"), 0);
        propose(1, keccak256("r"), 0);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochOutOfOrder.selector, 2, 1));
        propose(1, keccak256("r"), 0);
    }

    function test_rootMustBeSolventMonotoneAndNotEmpty() public {
        fund(100);
        refuse(abi.encodeWithSelector(IEpochRoots.EmptyRoot.selector));
        propose(1, bytes32(0), 1);
        refuse(abi.encodeWithSelector(IEpochRoots.Insolvent.selector, 101, 100));
        propose(1, keccak256("r"), 101);
        propose(1, keccak256("r"), 100);
        refuse(abi.encodeWithSelector(IEpochRoots.TotalDecreased.selector, 100, 99));
        propose(2, keccak256("r"), 99);
    }

    /// The cap is on what each root adds, pending ones before it included; not on what was promised before.
    function test_noRootAddsMoreThanTheCap() public {
        IEpochRoots.Terms memory t = terms();
        t.maxEpochIncrease = 100;
        distributor = new RewardsDistributor(token, t);
        fund(1000);
        refuse(abi.encodeWithSelector(IEpochRoots.IncreaseTooLarge.selector, 101, 100));
        propose(1, keccak256("r"), 101);
        propose(1, keccak256("r"), 100);
        refuse(abi.encodeWithSelector(IEpochRoots.IncreaseTooLarge.selector, 101, 100));
        propose(2, keccak256("r"), 201);
        propose(2, keccak256("r"), 200);
        eq(distributor.epochOf(2).cumulativeTotal, 200);
    }

    function test_noMoreThanMaxPendingRootsWait() public {
        for (uint64 epoch = 1; epoch <= distributor.MAX_PENDING(); ++epoch) {
            propose(epoch, keccak256("r"), 0);
        }
        refuse(abi.encodeWithSelector(IEpochRoots.TooManyPending.selector, 5));
        propose(5, keccak256("r"), 0);
        pass(WINDOW);
        propose(5, keccak256("r"), 0);
        eq(distributor.activeEpoch(), 4);
    }

    function test_proposalIsReadBack() public {
        fund(9);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit IEpochRoots.RootProposed(
            1, keccak256("r"), keccak256("l"), 9, 3, uint64(block.timestamp) + WINDOW, "sha256:00"
        );
        vm.prank(PROPOSER);
        distributor.proposeRoot(1, keccak256("r"), keccak256("l"), 9, 3, "sha256:00");
        IEpochRoots.Epoch memory e = distributor.epochOf(1);
        eq(e.root, keccak256("r"));
        eq(e.logRoot, keccak256("l"));
        eq(e.cumulativeTotal, 9);
        eq(e.leafCount, 3);
        eq(e.activeAt, block.timestamp + WINDOW);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 2));
        distributor.epochOf(2);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 0));
        distributor.epochOf(0);
    }

    // --- veto

    function test_onlyTheGuardianVetoesAndOnlyBeforeActivation() public {
        propose(1, keccak256("r"), 0);
        refuse(abi.encodeWithSelector(IEpochRoots.NotGuardian.selector, address(this)));
        distributor.veto(1, "");
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 2));
        vm.prank(GUARDIAN);
        distributor.veto(2, "");
        pass(WINDOW);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochActive.selector, 1));
        vm.prank(GUARDIAN);
        distributor.veto(1, "");
    }

    function test_vetoStrikesTheRootAndWhatWasBuiltOnIt() public {
        propose(1, keccak256("good"), 0);
        pass(WINDOW);
        propose(2, keccak256("bad"), 0);
        propose(3, keccak256("built on bad"), 0);
        vm.prank(GUARDIAN);
        distributor.veto(2, "wrong sum");
        eq(distributor.lastEpoch(), 1);
        eq(distributor.activeEpoch(), 1);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 2));
        distributor.epochOf(2);
        propose(2, keccak256("better"), 0);
        eq(distributor.epochOf(2).root, keccak256("better"));
    }

    /// The ring loses what a vetoed root overwrote, but never an active root among the last ROOTS_KEPT - MAX_PENDING.
    function test_vetoesLeaveTheLastActiveRoots() public {
        uint64 epoch;
        for (epoch = 1; epoch <= 20; ++epoch) {
            propose(epoch, keccak256(abi.encode(epoch)), 0);
            pass(WINDOW);
        }
        for (; epoch <= 24; ++epoch) {
            propose(epoch, keccak256(abi.encode(epoch)), 0);
        }
        vm.prank(GUARDIAN);
        distributor.veto(21, "");
        for (epoch = 17; epoch <= 20; ++epoch) {
            eq(distributor.epochOf(epoch).root, keccak256(abi.encode(epoch)));
        }
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 16));
        distributor.epochOf(16);
    }

    // --- claiming

    function test_anyoneClaimsForAnyoneAfterTheWindow() public {
        fund(100);
        (bytes32 root, bytes32[] memory proofA,) = pair(30, 70);
        propose(1, root, 100);
        refuse(abi.encodeWithSelector(IEpochRoots.EpochPending.selector, 1, uint64(block.timestamp) + WINDOW));
        distributor.claim(ALICE, 30, 1, proofA);
        pass(WINDOW);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit RewardsDistributor.Claimed(ALICE, 1, 30, 30);
        eq(distributor.claim(ALICE, 30, 1, proofA), 30);
        eq(token.balanceOf(ALICE), 30);
        eq(distributor.totalClaimed(), 30);
        refuse(abi.encodeWithSelector(RewardsDistributor.NothingToClaim.selector, ALICE, 30));
        distributor.claim(ALICE, 30, 1, proofA);
    }

    function test_wrongProofsAmountsAndAccountsAreRefused() public {
        fund(100);
        (bytes32 root, bytes32[] memory proofA, bytes32[] memory proofB) = pair(30, 70);
        propose(1, root, 100);
        pass(WINDOW);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, ALICE));
        distributor.claim(ALICE, 30, 1, proofB);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, ALICE));
        distributor.claim(ALICE, 31, 1, proofA);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, BOB));
        distributor.claim(BOB, 30, 1, proofA);
    }

    function test_leavesAreBoundToTheChain() public {
        bytes32 here = distributor.leafOf(ALICE, 1);
        vm.chainId(block.chainid + 1);
        require(here != distributor.leafOf(ALICE, 1), "the same leaf on two chains");
    }

    function test_onlyTheIncreaseIsPaid() public {
        fund(100);
        (bytes32 root, bytes32[] memory proofA,) = pair(30, 10);
        propose(1, root, 40);
        pass(WINDOW);
        distributor.claim(ALICE, 30, 1, proofA);
        (root, proofA,) = pair(45, 10);
        propose(2, root, 55);
        pass(WINDOW);
        eq(distributor.claim(ALICE, 45, 2, proofA), 15);
        eq(token.balanceOf(ALICE), 45);
    }

    function test_aProofInFlightOutlivesNewRoots() public {
        fund(100);
        (bytes32 root, bytes32[] memory proofA, bytes32[] memory proofB) = pair(10, 10);
        propose(1, root, 20);
        pass(WINDOW);
        bytes32[] memory newProofB;
        (root,, newProofB) = pair(10, 50);
        propose(2, root, 60);
        pass(WINDOW);
        distributor.claim(BOB, 50, 2, newProofB);
        // Alice's claim was made against epoch 1, whose total of 20 the later claim has passed.
        eq(distributor.claim(ALICE, 10, 1, proofA), 10);
        refuse(abi.encodeWithSelector(RewardsDistributor.NothingToClaim.selector, BOB, 50));
        distributor.claim(BOB, 10, 1, proofB);
        for (uint64 epoch = 3; epoch <= 9; ++epoch) {
            propose(epoch, root, 60);
            pass(WINDOW);
        }
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 1));
        distributor.claim(ALICE, 10, 1, proofA);
    }

    /// A root whose leaves add up to more than it says cannot pay out more than it says.
    function test_aLyingRootPaysNoMoreThanItsTotal() public {
        fund(1000);
        (bytes32 root, bytes32[] memory proofA, bytes32[] memory proofB) = pair(60, 60);
        propose(1, root, 100);
        pass(WINDOW);
        distributor.claim(ALICE, 60, 1, proofA);
        refuse(abi.encodeWithSelector(RewardsDistributor.ExceedsTotal.selector, 120, 100));
        distributor.claim(BOB, 60, 1, proofB);
        RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](1);
        claims[0] = RewardsDistributor.Claim(BOB, 60, proofB);
        eq(distributor.claimMany(1, claims), 0);
        eq(token.balanceOf(BOB), 0);
    }

    function test_claimManySkipsWhatItCannotPay() public {
        fund(100);
        (bytes32 root, bytes32[] memory proofA, bytes32[] memory proofB) = pair(30, 70);
        propose(1, root, 100);
        pass(WINDOW);
        RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](4);
        claims[0] = RewardsDistributor.Claim(ALICE, 30, proofB);
        claims[1] = RewardsDistributor.Claim(BOB, 70, proofB);
        claims[2] = RewardsDistributor.Claim(BOB, 70, proofB);
        claims[3] = RewardsDistributor.Claim(ALICE, 30, proofA);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit RewardsDistributor.ClaimSkipped(ALICE, 1, 30);
        eq(distributor.claimMany(1, claims), 100);
        eq(token.balanceOf(ALICE), 30);
        eq(token.balanceOf(BOB), 70);
        eq(distributor.totalClaimed(), 100);
        eq(distributor.claimMany(1, claims), 0);
    }

    /// A transfer that the token refuses (to the zero address) is undone and does not stop the others.
    function test_claimManyUndoesAFailedTransfer() public {
        fund(100);
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = distributor.leafOf(address(0), 40);
        leaves[1] = distributor.leafOf(BOB, 60);
        propose(1, Merkle.root(leaves), 100);
        pass(WINDOW);
        RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](2);
        claims[0] = RewardsDistributor.Claim(address(0), 40, Merkle.proof(leaves, 0));
        claims[1] = RewardsDistributor.Claim(BOB, 60, Merkle.proof(leaves, 1));
        eq(distributor.claimMany(1, claims), 60);
        eq(distributor.claimed(address(0)), 0);
        eq(distributor.totalClaimed(), 60);
    }

    /// Whatever the accounts' amounts over two epochs, and in whatever order they claim, each ends with its own.
    function testFuzz_everyoneEndsWithTheirCumulative(uint64[9] memory first, uint64[9] memory second, uint256 who)
        public
    {
        uint128[] memory amounts = new uint128[](9);
        bytes32[] memory leaves = new bytes32[](9);
        for (uint64 epoch = 1; epoch <= 2; ++epoch) {
            uint128 total = 0;
            for (uint160 i = 0; i < 9; ++i) {
                amounts[i] += 1 + uint128(epoch == 1 ? first[i] : second[i]);
                leaves[i] = distributor.leafOf(address(i + 1), amounts[i]);
                total += amounts[i];
            }
            fund(total - distributor.funded());
            propose(epoch, Merkle.root(leaves), total);
            pass(WINDOW);
            for (uint160 i = 0; i < 9; ++i) {
                if (epoch == 2 || (who >> i) & 1 == 1) {
                    distributor.claim(address(i + 1), amounts[i], epoch, Merkle.proof(leaves, i));
                }
            }
        }
        for (uint160 i = 0; i < 9; ++i) {
            eq(token.balanceOf(address(i + 1)), amounts[i]);
        }
        eq(token.balanceOf(address(distributor)), 0);
    }
}
